//! Ps 0's updates that are not yet durable in the chief's losses file.
//!
//! A written row survives a crash of the chief's process, but not a power loss of the chief's
//! machine. After a power loss, the next chief may adopt the live state and find fewer rows in the
//! file than the previous chief wrote. Ps 0 therefore keeps each update until a checkpoint has made
//! its row durable.

use std::collections::VecDeque;

use crate::ids::Step;
use crate::protocol::message::{Recorded, UpdateRecord};

/// The maximum number of updates that ps 0 keeps. The losses file gets a gap if more updates are
/// made while the chief is disconnected, or between a checkpoint and a loss of the chief's machine.
const MAX_KEPT: usize = 100_000;
/// The maximum number of losses in one message. A message can contain 1,024 updates with 2 losses
/// each, or 16 updates with 128 losses each.
const MAX_LOSSES_A_MESSAGE: usize = 2_048;

/// The updates that may not be durable in the losses file, ascending by step.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    kept: VecDeque<UpdateRecord>,
    /// The first step that the current chief has not written to the losses file.
    written: Step,
}

impl Unrecorded {
    pub(super) fn push(&mut self, update: UpdateRecord) {
        if self.kept.len() == MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(update);
    }

    /// Records the state of the losses file. Drops the updates that are durable.
    pub(super) fn note(&mut self, recorded: Recorded) {
        // `written` may decrease: a new chief may find fewer rows in the file, and needs the
        // missing rows again.
        self.written = recorded.written;
        while self.kept.front().is_some_and(|update| update.cut.step < recorded.durable) {
            self.kept.pop_front();
        }
    }

    /// Returns the oldest updates that the chief has not written, as many as fit in one message.
    /// The first update is returned even if it alone exceeds the limit.
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
    fn durable_updates_are_dropped() {
        let mut unrecorded = from_three_to_six();
        unrecorded.note(recorded(5, 5));
        assert_eq!(unrecorded.unwritten(), [update(5, 1)]);
        unrecorded.note(recorded(0, 0));
        assert_eq!(unrecorded.unwritten(), [update(5, 1)]);
    }

    #[test]
    fn written_updates_that_are_not_durable_are_kept_for_the_next_chief() {
        let mut unrecorded = from_three_to_six();
        unrecorded.note(recorded(6, 4));
        assert_eq!(unrecorded.unwritten(), []);
        unrecorded.note(recorded(0, 0));
        assert_eq!(unrecorded.unwritten(), [update(4, 1), update(5, 1)]);
    }

    #[test]
    fn message_has_a_bounded_number_of_losses_but_at_least_one_update() {
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
