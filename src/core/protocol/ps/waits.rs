//! Describes the current wait of a ps (rule 9), as text for the user and as plain values for
//! metrics.

use super::Ps;
use crate::ids::TaskId;
use crate::protocol::WaitFor;
use crate::protocol::wait_timer::Awaited;
use crate::time::Moment;

impl Ps {
    /// Returns the current wait as text.
    pub(super) fn awaited(&self, now: Moment) -> Awaited {
        let step = self.cut().unwrap_or_default().step;
        let mut from = Vec::new();
        let what = match self.waits_for(&mut |task| from.push(task)) {
            Some(WaitFor::Goodbye) => "for the goodbye of".to_owned(),
            Some(WaitFor::State) => "for this shard's state from".to_owned(),
            Some(WaitFor::Checkpoint) => "for the final checkpoint of".to_owned(),
            Some(WaitFor::Choice) => {
                format!("in step {step} for the choice of its slots, which involves")
            }
            Some(WaitFor::Gradient | WaitFor::Version | WaitFor::Link) => {
                format!("in step {step} for a gradient of")
            }
            None => {
                let what = format!("in step {step} for the update to be computed here");
                return Awaited { what, all_connected: false };
            }
        };
        self.links.awaited(now, what, from)
    }

    /// Returns the kind of the current wait, or `None` while this ps computes an update. Calls
    /// `each_awaited` with each task that this ps waits for.
    pub(super) fn waits_for(&self, each_awaited: &mut dyn FnMut(TaskId)) -> Option<WaitFor> {
        let mut workers = (0..self.config.sync.total_num_replicas).map(TaskId::worker);
        if self.ending.is_some() {
            workers.filter(|worker| !self.has_left(*worker)).for_each(each_awaited);
            return Some(WaitFor::Goodbye);
        }
        let Some(shard) = &self.shard else {
            each_awaited(TaskId::CHIEF);
            return Some(WaitFor::State);
        };
        if self.config.is_last(shard.cut().step) {
            each_awaited(TaskId::CHIEF);
            return Some(WaitFor::Checkpoint);
        }
        if shard.is_updating() {
            return None;
        }
        let lacks = |worker: &TaskId| self.config.slots_of(*worker).any(|slot| shard.lacks(slot));
        // With R >= N, a shard waits only for gradients. With R < N, a shard that holds all
        // gradients may still wait for the choice of ps 0. That choice depends on the reports of
        // the other shards.
        if workers.any(|worker| lacks(&worker)) {
            (0..self.config.sync.total_num_replicas)
                .map(TaskId::worker)
                .filter(lacks)
                .for_each(each_awaited);
            return Some(WaitFor::Gradient);
        }
        if self.me == TaskId::PS_ZERO {
            self.config.all_ps().skip(1).for_each(each_awaited);
        } else {
            each_awaited(TaskId::PS_ZERO);
        }
        Some(WaitFor::Choice)
    }
}
