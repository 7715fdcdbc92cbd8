//! A worker's work in one step. The worker computes its slots one after the other.

use std::collections::VecDeque;

use crate::floats::Floats;
use crate::ids::{Cut, Slot};
use crate::protocol::Job;

/// A computed gradient.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gradient {
    pub(super) slot: Slot,
    pub(super) loss: f32,
    /// The gradient's part for each shard.
    pub(super) shards: Vec<Floats>,
}

/// A worker's slots of one step.
#[derive(Debug)]
pub(super) struct Work {
    cut: Cut,
    parameters: Vec<Floats>,
    /// The slots that are not computed yet, ascending. The host may be computing the first of them.
    slots: VecDeque<Slot>,
    is_computing: bool,
}

impl Work {
    pub(super) fn new(
        cut: Cut,
        parameters: Vec<Floats>,
        slots: impl IntoIterator<Item = Slot>,
    ) -> Self {
        Self { cut, parameters, slots: slots.into_iter().collect(), is_computing: false }
    }

    pub(super) const fn cut(&self) -> Cut {
        self.cut
    }

    /// Returns whether the host is computing a slot.
    pub(super) const fn is_computing(&self) -> bool {
        self.is_computing
    }

    /// Returns whether all slots are computed.
    pub(super) fn is_complete(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the job of the next slot, or `None` if the host is computing a slot or no slot is
    /// left.
    pub(super) fn start(&mut self) -> Option<Job> {
        let job = if self.is_computing { None } else { self.job() };
        self.is_computing |= job.is_some();
        job
    }

    /// Returns the job of the first slot that is not computed yet.
    pub(super) fn job(&self) -> Option<Job> {
        let &slot = self.slots.front()?;
        Some(Job::Gradient { cut: self.cut, slot, parameters: self.parameters.clone() })
    }

    /// Handles the result of a job. Returns `false` if the result does not belong to the slot that
    /// is being computed, because the worker has started another version meanwhile.
    pub(super) fn finish(&mut self, cut: Cut, slot: Slot) -> bool {
        let is_due = cut == self.cut && self.is_computing && self.slots.front() == Some(&slot);
        if is_due {
            self.slots.pop_front();
            self.is_computing = false;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Step};

    #[test]
    fn slots_are_computed_in_order_and_other_results_are_ignored() {
        let cut = Cut { generation: Generation::default(), step: Step(3) };
        let mut work = Work::new(cut, Vec::new(), [Slot(1), Slot(3)]);
        assert!(!work.finish(cut, Slot(1)), "nothing is being computed");
        assert!(matches!(work.start(), Some(Job::Gradient { slot: Slot(1), .. })));
        assert_eq!(work.start(), None, "one at a time");
        assert!(!work.finish(cut, Slot(3)), "slot 1 comes first");
        assert!(!work.finish(cut.next(), Slot(1)), "another version");
        assert!(work.finish(cut, Slot(1)) && !work.is_computing());
        assert!(matches!(work.start(), Some(Job::Gradient { slot: Slot(3), .. })));
        assert!(work.finish(cut, Slot(3)));
        assert!(work.is_complete() && work.start().is_none());
    }
}
