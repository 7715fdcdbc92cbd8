//! Ps 0's updates that are not durable in the chief's losses file yet.
//!
//! A row that the chief has written outlives its process, but not its machine: another chief may
//! take up the live state and find the file shorter than its predecessor left it.

use std::collections::VecDeque;

use crate::ids::Step;
use crate::protocol::message::{Recorded, UpdateRecord};

/// Updates kept for a chief that is away or saves nothing; a longer absence, or a loss of its
/// machine after a longer time without a checkpoint, leaves a gap in the losses file.
const MAX_KEPT: usize = 100_000;
/// Losses a message: 1,024 updates of two workers, or 16 of 128.
const MAX_LOSSES_A_MESSAGE: usize = 2_048;

/// Updates not known to be durable, ascending by step.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    kept: VecDeque<UpdateRecord>,
    /// The present chief has written those below.
    written: Step,
}

impl Unrecorded {
    pub(super) fn push(&mut self, update: UpdateRecord) {
        if self.kept.len() == MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(update);
    }

    /// What the chief says now counts, and not what one before it has said.
    pub(super) fn note(&mut self, recorded: Recorded) {
        self.written = recorded.written;
        while self.kept.front().is_some_and(|update| update.cut.step < recorded.durable) {
            self.kept.pop_front();
        }
    }

    /// The oldest ones that the chief has not written, as many as a message takes, at least one.
    pub(super) fn unwritten(&self) -> Vec<UpdateRecord> {
        let mut n_losses = 0;
        let fits = |update: &&UpdateRecord| {
            let first = n_losses == 0;
            n_losses += update.losses.len();
            first || n_losses <= MAX_LOSSES_A_MESSAGE
        };
        let first = self.kept.partition_point(|update| update.cut.step < self.written);
        self.kept.range(first..).take_while(fits).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cut;
    use crate::ids::{Generation, Slot};

    fn update(step: u64, n_losses: u32) -> UpdateRecord {
        let losses = (0..n_losses).map(|slot| (Slot(slot), 0.5)).collect();
        UpdateRecord { cut: Cut { generation: Generation::default(), step: Step(step) }, losses }
    }

    fn recorded(written: u64, durable: u64) -> Recorded {
        Recorded { written: Step(written), durable: Step(durable) }
    }

    fn from_three_to_six() -> Unrecorded {
        let mut unrecorded = Unrecorded::default();
        for step in 3..6 {
            unrecorded.push(update(step, 1));
        }
        unrecorded
    }

    #[test]
    fn what_is_durable_is_forgotten() {
        let mut unrecorded = from_three_to_six();
        unrecorded.note(recorded(5, 5));
        assert_eq!(unrecorded.unwritten(), [update(5, 1)]);
        unrecorded.note(recorded(0, 0));
        assert_eq!(unrecorded.unwritten(), [update(5, 1)]);
    }

    #[test]
    fn what_is_only_written_is_kept_for_the_next_chief() {
        let mut unrecorded = from_three_to_six();
        unrecorded.note(recorded(6, 4));
        assert_eq!(unrecorded.unwritten(), []);
        unrecorded.note(recorded(0, 0));
        assert_eq!(unrecorded.unwritten(), [update(4, 1), update(5, 1)]);
    }

    #[test]
    fn a_message_takes_a_bounded_number_of_losses_but_always_one_update() {
        let mut unrecorded = Unrecorded::default();
        unrecorded.push(update(0, 5_000));
        unrecorded.push(update(1, 1_000));
        assert_eq!(unrecorded.unwritten().len(), 1);
        unrecorded.note(recorded(1, 1));
        unrecorded.push(update(2, 1_000));
        unrecorded.push(update(3, 1_000));
        assert_eq!(unrecorded.unwritten().len(), 2);
    }
}
