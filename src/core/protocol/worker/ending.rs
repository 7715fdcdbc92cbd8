//! Rule 10: the end of the run, of which the chief or a leaving worker informs every ps.

use std::collections::BTreeSet;

use crate::ids::TaskId;
use crate::protocol::config::ClusterConfig;
use crate::protocol::links::Links;
use crate::protocol::wait_timer::Awaited;
use crate::time::Moment;

/// The ps that may not know of the end, and the time limit for informing them.
#[derive(Debug)]
pub(super) struct Ending {
    until: Moment,
    /// The ps that may not know of the end.
    missing: BTreeSet<TaskId>,
}

impl Ending {
    pub(super) fn new(now: Moment, config: &ClusterConfig) -> Self {
        Self { until: now + config.limits.linger, missing: config.all_ps().collect() }
    }

    /// Returns the time to leave, even if a ps could not be informed.
    pub(super) const fn until(&self) -> Moment {
        self.until
    }

    /// Notes that a ps knows of the end, or needs no word because it has refused or failed.
    pub(super) fn mark_informed(&mut self, ps: TaskId) {
        self.missing.remove(&ps);
    }

    /// Returns whether every ps is informed.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Returns the ps that may not know of the end, ascending.
    pub(super) fn missing(&self) -> impl Iterator<Item = TaskId> {
        self.missing.iter().copied()
    }

    /// Returns the current wait as text (rule 9).
    pub(super) fn awaited(&self, now: Moment, links: &Links) -> Awaited {
        links.awaited(now, "for word that all is done to come to", self.missing())
    }
}
