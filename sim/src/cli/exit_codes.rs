//! Exit codes of several runs.

use crate::run::failure::Failure;

/// A wrong command line, scenario file or capsule.
pub(super) const EXIT_USAGE: u8 = 2;

pub(super) fn exit_code<'a>(failures: impl IntoIterator<Item = &'a Failure>) -> u8 {
    worst_exit_code(failures.into_iter().map(Failure::exit_code))
}

/// The exit code of several runs is that of the worst failure: a wrong result before a panic, a
/// panic before a hang, a hang before a fault that never bit.
pub(super) fn worst_exit_code(codes: impl IntoIterator<Item = u8>) -> u8 {
    const WORST_FIRST: [u8; 4] = [1, 4, 3, 5];
    let rank = |code: &u8| WORST_FIRST.iter().position(|known| known == code);
    codes.into_iter().min_by_key(rank).unwrap_or(0)
}
