//! Rule 10: all is done, and every ps is being told, by the chief or by a worker that leaves.

use std::collections::BTreeSet;

use crate::ids::TaskId;
use crate::protocol::config::ClusterConfig;
use crate::protocol::links::Links;
use crate::protocol::wait_timer::Awaited;
use crate::time::Moment;

/// Who is to be told yet, and for how long.
#[derive(Debug)]
pub(super) struct Ending {
    until: Moment,
    missing: BTreeSet<TaskId>,
}

impl Ending {
    pub(super) fn new(now: Moment, config: &ClusterConfig) -> Self {
        Self { until: now + config.limits.linger, missing: config.all_ps().collect() }
    }

    /// When to leave, even if a ps was not there to be told.
    pub(super) const fn until(&self) -> Moment {
        self.until
    }

    /// A ps knows.
    pub(super) fn mark_informed(&mut self, ps: TaskId) {
        self.missing.remove(&ps);
    }

    /// Whether nobody is left to be told.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// The ps that are to be told, ascending.
    pub(super) fn missing(&self) -> impl Iterator<Item = TaskId> {
        self.missing.iter().copied()
    }

    /// Rule 9.
    pub(super) fn awaited(&self, now: Moment, links: &Links) -> Awaited {
        links.awaited(now, "for word that all is done to come to", self.missing())
    }
}
