//! Applies rule 8: determines the incarnation of a new process, the order of incarnations, and the
//! larger incarnation that a refused process may take.
//!
//! A host only reads clocks and files. This file makes every decision about incarnations, so that
//! production and the simulator make the same decisions.

use crate::ids::Incarnation;
use crate::protocol::{Failure, Outcome};

impl Incarnation {
    /// The largest incarnation that a task may have: 2^53.
    ///
    /// An incarnation is usually the number of microseconds since 1970, which reaches 2^53 in the
    /// year 2255. Metrics and JSON readers store numbers as doubles, and a double represents every
    /// integer up to 2^53 exactly. The largest incarnation fences no other incarnation
    /// ([`Self::fences`]), so that a stranger that claims the largest incarnation cannot block the
    /// task.
    pub const LARGEST: Self = Self(1 << 53);

    /// Returns the incarnation of a new process.
    ///
    /// `clock` is a count by a supervisor, or the number of microseconds since 1970 according to a
    /// clock. `recorded` is the newest incarnation of the task in the process's own files. A record
    /// without room for a larger incarnation below [`Self::LARGEST`] is ignored, because the record
    /// is probably damaged. If the record was correct after all, a peer refuses the process and
    /// names the incarnation that the process must exceed.
    #[must_use]
    pub fn first(clock: u64, recorded: Option<Self>) -> Self {
        // A process may have to exceed this incarnation, so the largest incarnation must stay free.
        let clock = Self(clock.min(Self::LARGEST.0 - 1));
        let after = recorded.map(Self::next).filter(|after| *after < Self::LARGEST);
        after.map_or(clock, |after| after.max(clock))
    }

    /// Returns this incarnation plus 1.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns whether a peer that knows this incarnation must refuse a process with the
    /// incarnation `other`.
    #[must_use]
    pub fn fences(self, other: Self) -> bool {
        other < self && self < Self::LARGEST
    }
}

/// The raises of one process. If a peer refuses the process's node because the peer knows a newer
/// incarnation, a raise starts another node with a larger incarnation.
#[derive(Clone, Copy, Debug)]
pub struct Raises {
    /// The number that each raise adds to the smallest permitted incarnation. Two processes of a
    /// task almost always have different offsets ([`Self::SPREAD`]).
    offset: u64,
    n_raises: u32,
}

impl Raises {
    /// The maximum number of raises of one process.
    ///
    /// A process needs another raise only if a further peer knows an even newer incarnation. This
    /// case is rare, because it requires an incarnation that has connected to only a part of the
    /// cluster. A peer that names a larger incarnation every time is faulty, and must not keep the
    /// process busy forever.
    pub const MOST: u32 = 16;

    /// The largest difference between a raised incarnation and the incarnation that the process
    /// must exceed. The smallest difference is 1. If incarnations are microseconds, the largest
    /// difference is about one second.
    ///
    /// Two processes of a task may have to exceed the same incarnation, if no peer knows both
    /// processes. If both processes took the next number, a peer of the first process would mistake
    /// the second process for the first. The peer would then not repeat messages that only the
    /// first process has received. Each process therefore adds a different offset to the next
    /// number: the remainder of the process's first incarnation modulo this constant. The first
    /// incarnations come from different clock readings or counts, so two remainders are equal only
    /// by chance, about once in a million.
    pub const SPREAD: u64 = 1 << 20;

    /// Starts counting the raises of a process whose first node has the incarnation `first`.
    #[must_use]
    pub const fn of_process(first: Incarnation) -> Self {
        Self { offset: first.0 % Self::SPREAD, n_raises: 0 }
    }

    /// Returns the incarnation of the process's next node, after the previous node ended with
    /// `outcome`.
    ///
    /// # Errors
    /// Returns the outcome of the process if the process must not start another node.
    pub fn after(&mut self, outcome: Outcome) -> Result<Incarnation, Outcome> {
        let Outcome::Outdated { exceed, reason } = outcome else { return Err(outcome) };
        let next = exceed.next();
        if next > Incarnation::LARGEST || self.n_raises == Self::MOST {
            return Err(Outcome::Failed(Failure::Refused(reason)));
        }
        self.n_raises += 1;
        // The result must not exceed the largest incarnation, because peers refuse larger ones.
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
    fn largest_incarnation_fences_no_other() {
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
    fn two_processes_that_exceed_the_same_incarnation_choose_different_ones() {
        let raised = |first| Raises::of_process(Incarnation(first)).after(outdated(70)).unwrap();
        assert_eq!(raised(0), Incarnation(71));
        assert_eq!(
            raised(1_800_000_000_000_000),
            Incarnation(71 + 1_800_000_000_000_000 % (1 << 20))
        );
        assert_ne!(raised(1_800_000_000_000_000), raised(1_800_000_000_000_001));
    }

    #[test]
    fn raise_never_exceeds_the_largest_incarnation() {
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
