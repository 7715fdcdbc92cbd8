//! The exit code of a command that plays several runs.

/// The exit code for a wrong command line, scenario file or failure capsule.
pub(super) const EXIT_USAGE: u8 = 2;

/// Returns the exit code of the worst failure, or 0 if there is no failure.
pub(super) fn worst_exit_code(codes: impl IntoIterator<Item = u8>) -> u8 {
    // A wrong result (1) is worse than a panic (4), because production notices a panic but not a
    // wrong result. A hang (3) only loses time. Code 5 means a mistake in the scenario.
    const WORST_FIRST: [u8; 4] = [1, 4, 3, 5];
    let rank = |code: &u8| WORST_FIRST.iter().position(|known| known == code);
    codes.into_iter().filter(|code| *code != 0).min_by_key(rank).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_code_follows_the_order_in_the_help() {
        assert_eq!(worst_exit_code([5, 3, 4, 1]), 1);
        assert_eq!(worst_exit_code([3, 5, 4]), 4);
        assert_eq!(worst_exit_code([5, 3]), 3);
        assert_eq!(worst_exit_code([0, 5, 0]), 5);
        assert_eq!(worst_exit_code([0, 0]), 0);
        assert_eq!(worst_exit_code([]), 0);
    }
}
