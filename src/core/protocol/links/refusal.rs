//! Rule 8 between two lives of a task: which one is older, what the older one is told, and how it
//! ends.

use crate::protocol::message::NewerIncarnation;

/// Why a task is refused.
#[derive(Debug, PartialEq)]
pub(in crate::protocol) struct Refusal {
    /// For the person who started the task.
    pub(super) reason: String,
    /// The life that the task is older than, if it is refused for that.
    pub(super) older_than: Option<NewerIncarnation>,
}

impl Refusal {
    pub(in crate::protocol) const fn is_for_newer_incarnation(&self) -> bool {
        self.older_than.is_some()
    }
}
