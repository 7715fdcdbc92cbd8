//! The reason for which a peer refuses a session.

use crate::protocol::message::NewerIncarnation;

/// A refusal of a session. The refusal was received from a peer, or is to be sent to a peer.
#[derive(Debug, PartialEq)]
pub(in crate::protocol) struct Refusal {
    /// The problem and the remedy, for the user who started the refused task.
    pub(super) reason: String,
    /// The newer incarnation that the refusing task knows, or `None` if the refusal has another
    /// reason.
    pub(super) older_than: Option<NewerIncarnation>,
}

impl Refusal {
    pub(in crate::protocol) const fn names_newer_incarnation(&self) -> bool {
        self.older_than.is_some()
    }
}
