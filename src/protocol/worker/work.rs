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
    /// The first one is being computed.
    slots: VecDeque<Slot>,
    done: Vec<Gradient>,
}

impl Work {
    pub(super) fn new(
        cut: Cut,
        parameters: Vec<Floats>,
        slots: impl IntoIterator<Item = Slot>,
    ) -> Self {
        Self { cut, parameters, slots: slots.into_iter().collect(), done: Vec::new() }
    }

    pub(super) const fn cut(&self) -> Cut {
        self.cut
    }

    /// What was computed so far, to be pushed again where it may not have arrived.
    pub(super) fn done(&self) -> &[Gradient] {
        &self.done
    }

    /// Whether nothing is left to compute.
    pub(super) fn is_complete(&self) -> bool {
        self.slots.is_empty()
    }

    /// The job of the first slot that is left.
    pub(super) fn job(&self) -> Option<Job> {
        let &slot = self.slots.front()?;
        let Cut { generation, step } = self.cut;
        Some(Job::Gradient { generation, step, slot, parameters: self.parameters.clone() })
    }

    /// Takes a result. `false` if it is not of the slot that is being computed.
    pub(super) fn finish(&mut self, cut: Cut, gradient: Gradient) -> bool {
        let expected = cut == self.cut && self.slots.front() == Some(&gradient.slot);
        if expected {
            self.slots.pop_front();
            self.done.push(gradient);
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Step};

    #[test]
    fn slots_are_computed_in_order_and_other_results_ignored() {
        let cut = Cut { generation: Generation::default(), step: Step(3) };
        let gradient = |slot| Gradient { slot: Slot(slot), loss: 0.5, shards: Vec::new() };
        let mut work = Work::new(cut, Vec::new(), [Slot(1), Slot(3)]);
        assert!(!work.finish(cut, gradient(3)), "slot 1 comes first");
        assert!(!work.finish(cut.next(), gradient(1)), "another version");
        assert!(work.finish(cut, gradient(1)));
        assert!(matches!(work.job(), Some(Job::Gradient { slot: Slot(3), .. })));
        assert!(work.finish(cut, gradient(3)));
        assert!(work.is_complete() && work.job().is_none());
        assert_eq!(work.done().len(), 2);
    }
}
