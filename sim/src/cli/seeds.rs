//! Ranges of seeds. A range includes its last seed, because the value after the largest seed,
//! 2^64 − 1, does not fit into a `u64`.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;

use super::sources::usage;

/// Returns the range of exactly `n` seeds from `first` on.
///
/// # Errors
/// If there are fewer than `n` seeds from `first` on.
pub(super) fn exactly(first: u64, n: NonZeroU64) -> anyhow::Result<RangeInclusive<u64>> {
    let seeds = at_most(first, n);
    let remaining = count(&seeds);
    if remaining < n.get() {
        return Err(usage(format!(
            "only {remaining} of {n} seeds remain from {first} on, because the last seed is {}; \
             use --seeds {remaining}, or a smaller --from",
            u64::MAX
        )));
    }
    Ok(seeds)
}

/// Returns the range of `n` seeds from `first` on, or of fewer if fewer seeds remain.
pub(super) const fn at_most(first: u64, n: NonZeroU64) -> RangeInclusive<u64> {
    first..=first.saturating_add(n.get() - 1)
}

/// Returns the number of seeds. For the range of all 2^64 seeds, the result is 2^64 − 1, because
/// 2^64 does not fit into a `u64`. No `hunt` can play so many seeds.
pub(super) const fn count(seeds: &RangeInclusive<u64>) -> u64 {
    (*seeds.end() - *seeds.start()).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).expect("not 0")
    }

    #[test]
    fn range_may_end_at_the_last_seed_but_not_beyond() {
        let last = exactly(u64::MAX, n(1)).expect("the last seed");
        assert_eq!((count(&last), last), (1, u64::MAX..=u64::MAX));
        let three = exactly(u64::MAX - 2, n(3)).expect("the last three");
        assert_eq!((count(&three), *three.end()), (3, u64::MAX));
        let error = exactly(u64::MAX - 2, n(4)).expect_err("there are three").to_string();
        assert_eq!(
            error,
            "only 3 of 4 seeds remain from 18446744073709551613 on, because the last seed is \
             18446744073709551615; use --seeds 3, or a smaller --from"
        );
        assert_eq!(at_most(u64::MAX - 2, n(1000)), three);
        assert_eq!(count(&(0..=u64::MAX)), u64::MAX, "one fewer than there are");
    }
}
