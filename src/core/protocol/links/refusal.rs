//! The reason for which a peer refuses a session.

use crate::protocol::message::NewerIncarnation;

/// A refusal of a session, as received or to be sent.
#[derive(Debug, PartialEq)]
pub(in crate::protocol) struct Refusal {
    /// The problem and the remedy, for the user who started the refused task.
    pub(super) reason: String,
    /// The newer incarnation of the refused task, if the task is refused as older.
    pub(super) older_than: Option<NewerIncarnation>,
}

impl Refusal {
    pub(in crate::protocol) const fn names_newer_incarnation(&self) -> bool {
        self.older_than.is_some()
    }
}
