//! The work of one step at one worker: its slots, computed one after the other.

use std::collections::VecDeque;

use crate::floats::Floats;
use crate::ids::{Cut, Slot};
use crate::protocol::Job;

/// A gradient that was computed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gradient {
    pub(super) slot: Slot,
    pub(super) loss: f32,
    /// One buffer a shard.
    pub(super) shards: Vec<Floats>,
}

/// One step's work.
#[derive(Debug)]
pub(super) struct Work {
    cut: Cut,
    parameters: Vec<Floats>,
    /// What is left to compute, ascending. The first one may be under way.
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

    /// Whether a slot is being computed.
    pub(super) const fn is_computing(&self) -> bool {
        self.is_computing
    }

    /// Whether nothing is left to compute.
    pub(super) fn is_complete(&self) -> bool {
        self.slots.is_empty()
    }

    /// Starts the next slot, unless one is under way or none is left.
    pub(super) fn start(&mut self) -> Option<Job> {
        let job = if self.is_computing { None } else { self.job() };
        self.is_computing |= job.is_some();
        job
    }

    /// The job of the first slot that is left.
    pub(super) fn job(&self) -> Option<Job> {
        let &slot = self.slots.front()?;
        Some(Job::Gradient { cut: self.cut, slot, parameters: self.parameters.clone() })
    }

    /// Takes a result. `false` if it is not of the slot that is being computed.
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
    fn slots_are_computed_in_order_and_other_results_ignored() {
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
