//! Keeps the losses of updates that a rollback removed, and compares them with the losses of the
//! recomputed updates.

use std::collections::VecDeque;

use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{NotRepeated, UpdateRecord};

/// The rows that rollbacks removed, ascending by step.
#[derive(Debug, Default)]
pub(super) struct FirstLosses(VecDeque<(Step, Slot, f32)>);

impl FirstLosses {
    /// Adds the rows that a rollback removes. Keeps the rows of later steps that an earlier
    /// rollback removed.
    pub(super) fn cut(&mut self, rows: impl IntoIterator<Item = (Step, Slot, f32)>) {
        let mut rows: VecDeque<_> = rows.into_iter().collect();
        // `self` still has the rows that an earlier rollback removed. Rows of later steps than
        // those of `rows` stay in `self`, because their updates will be recomputed, too.
        let last = rows.back().map(|row| row.0);
        rows.extend(self.0.iter().filter(|row| last.is_none_or(|last| row.0 > last)));
        self.0 = rows;
    }

    /// Compares a recomputed update with its first computation. Every slot must have the same loss.
    ///
    /// # Errors
    /// If a loss differs in any bit.
    pub(super) fn compare(&mut self, update: &UpdateRecord) -> Result<(), NotRepeated> {
        while let Some((step, slot, first)) = self.0.front().copied()
            && step <= update.cut.step
        {
            self.0.pop_front();
            let again = update.losses.iter().find(|(of, _)| (step, *of) == (update.cut.step, slot));
            if let Some(&(_, again)) = again.filter(|(_, loss)| loss.to_bits() != first.to_bits()) {
                return Err(NotRepeated { step, slot, first, again });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_core::ids::Cut;
    use unisono_core::ids::Generation;

    fn update(step: u64, losses: [f32; 2]) -> UpdateRecord {
        let losses = (0..).map(Slot).zip(losses).collect();
        UpdateRecord { cut: Cut { generation: Generation::default(), step: Step(step) }, losses }
    }

    fn rows(steps: impl IntoIterator<Item = u64>, loss: f32) -> Vec<(Step, Slot, f32)> {
        let rows = |step| [(Step(step), Slot(0), loss), (Step(step), Slot(1), loss)];
        steps.into_iter().flat_map(rows).collect()
    }

    #[test]
    fn recomputed_updates_must_match_and_new_updates_may_have_any_losses() {
        let mut first = FirstLosses::default();
        first.compare(&update(3, [9.0, 9.0])).unwrap();
        first.cut(rows(3..6, 0.5));
        first.compare(&update(3, [0.5, 0.5])).unwrap();
        let other = first.compare(&update(4, [0.5, 0.25])).unwrap_err();
        let expected = NotRepeated { step: Step(4), slot: Slot(1), first: 0.5, again: 0.25 };
        assert_eq!(other, expected);
        first.compare(&update(5, [0.5, 0.5])).unwrap();
        first.compare(&update(6, [7.0, 8.0])).unwrap();
    }

    #[test]
    fn second_rollback_during_recomputation_keeps_the_losses_to_compare() {
        let mut first = FirstLosses::default();
        first.cut(rows(3..8, 0.5));
        first.compare(&update(3, [0.5, 0.5])).unwrap();
        first.cut(rows(2..4, 0.5));
        first.compare(&update(2, [0.5, 0.5])).unwrap();
        first.compare(&update(7, [0.5, 1.5])).unwrap_err();
    }
}
