//! Seeds in a row, up to the last one that there is.

use std::num::NonZeroU64;

use super::sources::usage;

/// At least one seed. The last seed is kept and not the end behind it, because the end behind
/// 2^64 − 1 is no `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seeds {
    first: u64,
    last: u64,
}

impl Seeds {
    pub(super) const fn one(seed: u64) -> Self {
        Self { first: seed, last: seed }
    }

    /// Exactly `n` seeds.
    ///
    /// # Errors
    /// If there are fewer from `first` on.
    pub(super) fn exactly(first: u64, n: NonZeroU64) -> anyhow::Result<Self> {
        let seeds = Self::at_most(first, n);
        let there_are = seeds.count();
        if there_are < n.get() {
            return Err(usage(format!(
                "{n} seeds from {first} on: there are only {there_are}, since the last seed is {}; \
                 give --seeds {there_are}, or an earlier --from",
                u64::MAX
            )));
        }
        Ok(seeds)
    }

    /// As many as there are, but no more than `n`.
    pub(super) const fn at_most(first: u64, n: NonZeroU64) -> Self {
        Self { first, last: first.saturating_add(n.get() - 1) }
    }

    /// All seeds from `first` on.
    pub(super) const fn all_from(first: u64) -> Self {
        Self { first, last: u64::MAX }
    }

    /// How many seeds there are. All 2^64 of them count as one fewer, which nobody lives to see.
    pub(super) const fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    pub(super) const fn first(self) -> u64 {
        self.first
    }

    pub(super) const fn last(self) -> u64 {
        self.last
    }

    /// Seed number `nth`, counted from 0; one of them.
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
    fn every_seed_can_be_named_and_none_beyond_the_last() {
        let last = Seeds::exactly(u64::MAX, n(1)).expect("the last seed");
        assert_eq!((last.count(), last.nth(0), last), (1, u64::MAX, Seeds::one(u64::MAX)));
        let three = Seeds::exactly(u64::MAX - 2, n(3)).expect("the last three");
        assert_eq!((three.count(), three.nth(2)), (3, u64::MAX));
        let error = Seeds::exactly(u64::MAX - 2, n(4)).expect_err("there are three").to_string();
        assert_eq!(
            error,
            "4 seeds from 18446744073709551613 on: there are only 3, since the last seed is \
             18446744073709551615; give --seeds 3, or an earlier --from"
        );
        assert_eq!(Seeds::at_most(u64::MAX - 2, n(1000)), three);
        assert_eq!(Seeds::all_from(7).nth(0), 7);
        assert_eq!(Seeds::all_from(0).count(), u64::MAX, "one fewer than there are");
    }
}
