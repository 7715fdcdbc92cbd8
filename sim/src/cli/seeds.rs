//! A range of seeds. The range may include the largest seed, 2^64 − 1.

use std::num::NonZeroU64;

use super::sources::usage;

/// A range of at least one seed. The range stores its last seed, because the value after the
/// largest seed, 2^64 − 1, does not fit into a `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seeds {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Seeds {
    pub(super) const fn one(seed: u64) -> Self {
        Self { first: seed, last: seed }
    }

    /// Returns the range of exactly `n` seeds from `first` on.
    ///
    /// # Errors
    /// Returns an error if fewer than `n` seeds remain from `first` on.
    pub(super) fn exactly(first: u64, n: NonZeroU64) -> anyhow::Result<Self> {
        let seeds = Self::at_most(first, n);
        let remaining = seeds.count();
        if remaining < n.get() {
            return Err(usage(format!(
                "only {remaining} of {n} seeds remain from {first} on, because the last seed is {}; \
                 use --seeds {remaining}, or a smaller --from",
                u64::MAX
            )));
        }
        Ok(seeds)
    }

    /// Returns the range of `n` seeds from `first` on. The range is shorter if it would exceed the
    /// largest seed.
    pub(super) const fn at_most(first: u64, n: NonZeroU64) -> Self {
        Self { first, last: first.saturating_add(n.get() - 1) }
    }

    /// Returns the range of all seeds from `first` on.
    pub(super) const fn all_from(first: u64) -> Self {
        Self { first, last: u64::MAX }
    }

    /// Returns the number of seeds. For the range of all 2^64 seeds, the result is 2^64 − 1,
    /// because 2^64 does not fit into a `u64`. No `hunt` can play so many seeds.
    pub(super) const fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Returns the seed with index `nth`, counted from 0.
    pub(super) const fn nth(self, nth: u64) -> u64 {
        self.first + nth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).expect("not 0")
    }

    #[test]
    fn range_may_end_at_the_last_seed_but_not_beyond() {
        let last = Seeds::exactly(u64::MAX, n(1)).expect("the last seed");
        assert_eq!((last.count(), last.nth(0), last), (1, u64::MAX, Seeds::one(u64::MAX)));
        let three = Seeds::exactly(u64::MAX - 2, n(3)).expect("the last three");
        assert_eq!((three.count(), three.nth(2)), (3, u64::MAX));
        let error = Seeds::exactly(u64::MAX - 2, n(4)).expect_err("there are three").to_string();
        assert_eq!(
            error,
            "only 3 of 4 seeds remain from 18446744073709551613 on, because the last seed is \
             18446744073709551615; use --seeds 3, or a smaller --from"
        );
        assert_eq!(Seeds::at_most(u64::MAX - 2, n(1000)), three);
        assert_eq!(Seeds::all_from(7).nth(0), 7);
        assert_eq!(Seeds::all_from(0).count(), u64::MAX, "one fewer than there are");
    }
}
