//! Applies rule 10, the end of the run: the chief, or a worker that leaves, informs every ps that
//! the run has ended.

use std::collections::BTreeSet;

use crate::ids::TaskId;
use crate::protocol::config::ClusterConfig;
use crate::protocol::links::Links;
use crate::protocol::wait_timer::Awaited;
use crate::time::Moment;

/// The parameter servers that may not know of the run's end, and the time limit for informing them.
#[derive(Debug)]
pub(super) struct Ending {
    until: Moment,
    /// The parameter servers that may not know of the run's end.
    missing: BTreeSet<TaskId>,
}

impl Ending {
    pub(super) fn new(now: Moment, config: &ClusterConfig) -> Self {
        Self { until: now + config.limits.linger, missing: config.all_ps().collect() }
    }

    /// Returns the time at which this task leaves, even if a ps could not be informed.
    pub(super) const fn until(&self) -> Moment {
        self.until
    }

    /// Records that a ps knows of the run's end, or need not know of the end because the ps has
    /// refused this task or has failed.
    pub(super) fn mark_informed(&mut self, ps: TaskId) {
        self.missing.remove(&ps);
    }

    /// Returns whether every ps is informed.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Returns the parameter servers that may not know of the run's end, ascending.
    pub(super) fn missing(&self) -> impl Iterator<Item = TaskId> {
        self.missing.iter().copied()
    }

    /// Returns the current wait as text (rule 9).
    pub(super) fn awaited(&self, now: Moment, links: &Links) -> Awaited {
        links.awaited(now, "for news of the end to reach", self.missing())
    }
}
