//! The names of tasks that a `sparseCluster` leaves out, which follow from this task's own.

use crate::config::hosts::{Host, HostPort};
use crate::ids::Job;

/// `NAME-ROLE-INDEX` and all that follows, as the Training Operator names the service of each task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// What comes before the role, with its dash.
    before: String,
    /// What comes after the index.
    after: String,
    port: u16,
}

impl Template {
    /// Of the address of one task, if it has that form.
    pub(super) fn of(own: &HostPort, task_type: &str, index: u32) -> Option<Self> {
        let Host::Name(name) = own.host() else { return None };
        let label_end = name.find('.').unwrap_or(name.len());
        let (label, after) = name.split_at(label_end);
        let before = label.strip_suffix(&format!("-{task_type}-{index}"))?;
        Some(Self { before: format!("{before}-"), after: after.to_owned(), port: own.port() })
    }

    pub(super) fn address(&self, job: Job, index: u32) -> HostPort {
        let Self { before, after, port } = self;
        HostPort::new(Host::Name(format!("{before}{job}-{index}{after}")), *port)
    }
}
