//! Which incarnation a life of a task gets, which incarnations are believed, and when a refused
//! process may try again with a larger one (rule 8).
//!
//! A host reads clocks and files; every decision about the numbers is here, so that production and
//! the simulator make the same ones.

use crate::ids::Incarnation;
use crate::protocol::{Failure, Outcome};

impl Incarnation {
    /// The largest incarnation that a task may have: 2^53.
    ///
    /// Microseconds since 1970 reach it in the year 2255, and a double holds every integer up to
    /// it, which metrics and JSON readers rely on. It fences nobody ([`Self::fences`]): whoever
    /// claims it, perhaps a stranger, cannot keep the task itself out.
    pub const LARGEST: Self = Self(1 << 53);

    /// The incarnation of a new process.
    ///
    /// `clock` is what the supervisor counted, or the microseconds of a clock. `recorded` is the
    /// last incarnation of the task that its files tell of. A record that leaves no room below
    /// [`Self::LARGEST`] is ignored: no host chose it, and peers report a larger one if need be.
    #[must_use]
    pub fn first(clock: u64, recorded: Option<Self>) -> Self {
        let clock = Self(clock.min(Self::LARGEST.0 - 1));
        let after = recorded.map(Self::next).filter(|after| *after < Self::LARGEST);
        after.map_or(clock, |after| after.max(clock))
    }

    /// The smallest larger incarnation.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether a life that has this incarnation makes one with `other` an older life, which is
    /// refused.
    #[must_use]
    pub fn fences(self, other: Self) -> bool {
        other < self && self < Self::LARGEST
    }
}

/// The raises of one process: each ends a node that was refused as older, and starts another with
/// a larger incarnation.
#[derive(Clone, Copy, Debug)]
pub struct Raises {
    /// Added to each raise. Another process of the task has another offset ([`Self::SPREAD`]).
    offset: u64,
    n_raises: u32,
}

impl Raises {
    /// The most raises of one process. Each is due to a peer that knows of a newer life than the
    /// peers before it did, and few lives reach only a part of the cluster. A peer that always asks
    /// for more is lying, and must not keep the process busy for ever.
    pub const MOST: u32 = 16;

    /// A raise exceeds the named incarnation by at least one and at most this number: a second, if
    /// incarnations are microseconds.
    ///
    /// Two processes of one task may be told to exceed the same incarnation, by peers that have not
    /// heard of each other's lives. If both took the next number, peers that know the earlier
    /// process would believe that the later one holds what the earlier one had received, and would
    /// not repeat it. The first incarnations of two processes are different readings of a clock or
    /// different counts, so their remainders are equal by chance only, once in a million.
    pub const SPREAD: u64 = 1 << 20;

    /// The raises of a process whose first node has the incarnation `first`.
    #[must_use]
    pub const fn of_process(first: Incarnation) -> Self {
        Self { offset: first.0 % Self::SPREAD, n_raises: 0 }
    }

    /// The incarnation of the next node of a process whose node ended with `outcome`; or how the
    /// process ends, if it is not to start another node.
    ///
    /// # Errors
    /// The outcome of the process.
    pub fn after(&mut self, outcome: Outcome) -> Result<Incarnation, Outcome> {
        let Outcome::Outdated { exceed, reason } = outcome else { return Err(outcome) };
        let next = exceed.next();
        if next > Incarnation::LARGEST || self.n_raises == Self::MOST {
            return Err(Outcome::Failed(Failure::Refused(reason)));
        }
        self.n_raises += 1;
        let spread = Incarnation(next.0 + self.offset);
        Ok(if spread < Incarnation::LARGEST { spread } else { next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u64 = 9_007_199_254_740_992;

    fn first(clock: u64, recorded: Option<u64>) -> u64 {
        Incarnation::first(clock, recorded.map(Incarnation)).0
    }

    #[test]
    fn first_incarnation_is_the_clock_or_one_more_than_the_record() {
        assert_eq!(first(100, None), 100);
        assert_eq!(first(100, Some(99)), 100);
        assert_eq!(first(100, Some(100)), 101);
        assert_eq!(first(100, Some(5_000)), 5_001);
    }

    #[test]
    fn first_incarnation_leaves_room_for_a_raise() {
        assert_eq!(first(u64::MAX, None), LARGEST - 1);
        assert_eq!(first(100, Some(LARGEST - 2)), LARGEST - 1);
        for absurd in [LARGEST - 1, LARGEST, u64::MAX] {
            assert_eq!(first(100, Some(absurd)), 100);
        }
    }

    #[test]
    fn the_largest_incarnation_fences_nobody() {
        let fences = |newest, other| Incarnation(newest).fences(Incarnation(other));
        assert!(fences(6, 5));
        assert!(!fences(5, 5) && !fences(5, 6));
        assert!(fences(LARGEST - 1, 5));
        assert!(!fences(LARGEST, 5));
    }

    fn outdated(exceed: u64) -> Outcome {
        Outcome::Outdated { exceed: Incarnation(exceed), reason: "older".to_owned() }
    }

    fn refused() -> Outcome {
        Outcome::Failed(Failure::Refused("older".to_owned()))
    }

    #[test]
    fn processes_that_are_told_the_same_choose_different_incarnations() {
        let raised = |first| Raises::of_process(Incarnation(first)).after(outdated(70)).unwrap();
        assert_eq!(raised(0), Incarnation(71));
        assert_eq!(
            raised(1_800_000_000_000_000),
            Incarnation(71 + 1_800_000_000_000_000 % (1 << 20))
        );
        assert_ne!(raised(1_800_000_000_000_000), raised(1_800_000_000_000_001));
    }

    #[test]
    fn a_raise_is_never_more_than_the_largest() {
        let mut raises = Raises::of_process(Incarnation(5));
        assert_eq!(raises.after(outdated(LARGEST - 1)), Ok(Incarnation(LARGEST)));
        for absurd in [LARGEST, u64::MAX] {
            assert_eq!(raises.after(outdated(absurd)), Err(refused()));
        }
    }

    #[test]
    fn a_process_raises_itself_sixteen_times_and_then_fails() {
        let mut raises = Raises::of_process(Incarnation(0));
        for exceed in 0..16 {
            assert_eq!(raises.after(outdated(exceed)), Ok(Incarnation(exceed + 1)));
        }
        assert_eq!(raises.after(outdated(16)), Err(refused()));
    }

    #[test]
    fn any_other_outcome_ends_the_process() {
        for outcome in [Outcome::Finished, Outcome::Stopped { saved: None }, refused()] {
            let mut raises = Raises::of_process(Incarnation(7));
            assert_eq!(raises.after(outcome.clone()), Err(outcome));
        }
    }
}
