//! Rule 9: what a ps waits for, for a person and for who counts.

use super::Ps;
use crate::ids::TaskId;
use crate::protocol::WaitFor;
use crate::protocol::wait_timer::Awaited;
use crate::time::Moment;

impl Ps {
    /// Rule 9: what has not come, and whose it is.
    pub(super) fn awaited(&self, now: Moment) -> Awaited {
        let step = self.cut().unwrap_or_default().step;
        let mut from = Vec::new();
        let what = match self.waits_for(&mut |task| from.push(task)) {
            Some(WaitFor::Goodbye) => "for the goodbye of".to_owned(),
            Some(WaitFor::State) => "for this shard's state from".to_owned(),
            Some(WaitFor::Checkpoint) => "for the final checkpoint of".to_owned(),
            Some(WaitFor::Choice) => {
                format!("in step {step} for which slots it uses, to be settled with")
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

    /// What has not come, and `of` whom; `None` while an update is computed here.
    pub(super) fn waits_for(&self, of: &mut dyn FnMut(TaskId)) -> Option<WaitFor> {
        let mut workers = (0..self.config.sync.total_num_replicas).map(TaskId::worker);
        if self.ending.is_some() {
            workers.filter(|worker| !self.has_left(*worker)).for_each(of);
            return Some(WaitFor::Goodbye);
        }
        let Some(shard) = &self.shard else {
            of(TaskId::CHIEF);
            return Some(WaitFor::State);
        };
        if self.config.is_last(shard.cut().step) {
            of(TaskId::CHIEF);
            return Some(WaitFor::Checkpoint);
        }
        if shard.is_updating() {
            return None;
        }
        let lacks = |worker: &TaskId| self.config.slots_of(*worker).any(|slot| shard.lacks(slot));
        if workers.any(|worker| lacks(&worker)) {
            (0..self.config.sync.total_num_replicas).map(TaskId::worker).filter(lacks).for_each(of);
            return Some(WaitFor::Gradient);
        }
        if self.me == TaskId::PS_ZERO {
            self.config.all_ps().skip(1).for_each(of);
        } else {
            of(TaskId::PS_ZERO);
        }
        Some(WaitFor::Choice)
    }
}
