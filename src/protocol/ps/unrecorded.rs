//! Ps 0's updates that the chief has yet to write into its losses file.

use std::collections::VecDeque;

use crate::ids::Step;
use crate::protocol::message::UpdateRecord;

/// Updates kept for a chief that is away; a longer absence leaves a gap in the losses file.
const MAX_KEPT: usize = 100_000;
/// Losses a message: 1,024 updates of two workers, or 16 of 128.
const MAX_LOSSES_A_MESSAGE: usize = 2_048;

/// Updates not yet recorded, ascending by step.
#[derive(Debug, Default)]
pub(super) struct Unrecorded(VecDeque<UpdateRecord>);

impl Unrecorded {
    pub(super) fn push(&mut self, update: UpdateRecord) {
        if self.0.len() == MAX_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(update);
    }

    /// The chief has written every update below `step`.
    pub(super) fn recorded(&mut self, step: Step) {
        while self.0.front().is_some_and(|update| update.step < step) {
            self.0.pop_front();
        }
    }

    /// The oldest ones, as many as a message takes, at least one.
    pub(super) fn oldest(&self) -> Vec<UpdateRecord> {
        let mut n_losses = 0;
        let fits = |update: &&UpdateRecord| {
            let first = n_losses == 0;
            n_losses += update.losses.len();
            first || n_losses <= MAX_LOSSES_A_MESSAGE
        };
        self.0.iter().take_while(fits).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Slot};

    fn update(step: u64, n_losses: u32) -> UpdateRecord {
        let losses = (0..n_losses).map(|slot| (Slot(slot), 0.5)).collect();
        UpdateRecord { generation: Generation::default(), step: Step(step), losses }
    }

    #[test]
    fn what_is_recorded_is_forgotten() {
        let mut unrecorded = Unrecorded::default();
        for step in 3..6 {
            unrecorded.push(update(step, 1));
        }
        unrecorded.recorded(Step(5));
        assert_eq!(unrecorded.oldest(), [update(5, 1)]);
    }

    #[test]
    fn a_message_takes_a_bounded_number_of_losses_but_always_one_update() {
        let mut unrecorded = Unrecorded::default();
        unrecorded.push(update(0, 5_000));
        unrecorded.push(update(1, 1_000));
        assert_eq!(unrecorded.oldest().len(), 1);
        unrecorded.recorded(Step(1));
        unrecorded.push(update(2, 1_000));
        unrecorded.push(update(3, 1_000));
        assert_eq!(unrecorded.oldest().len(), 2);
    }
}
