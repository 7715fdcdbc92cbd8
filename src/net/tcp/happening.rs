//! What the network's tasks tell it, and the way they take.

use crate::tcp::admission::Permit;
use crate::tcp::reader::Reader;
use crate::tcp::security::ends::ReadEnd;
use crate::tcp::security::ends::WriteEnd;
use tokio::sync::mpsc;

use super::reader::ReadError;
use crate::tcp::security::ends::Ends;
use unisono_core::ids::{LinkId, TaskId};
use unisono_core::protocol::Message;

/// What a task of the network's tells it.
#[derive(Debug)]
pub(super) enum Happening {
    /// A call came through, or did not.
    Called { to: TaskId, result: Result<Ends, CallError> },
    /// Somebody called, and said who it is.
    Accepted(Greeted),
    /// Something came on a link.
    OnLink(LinkId, LinkEvent),
}

/// What a link's reader tells.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// A whole message.
    Received(Message),
    /// A part of a long one.
    Progress,
    /// Nothing more will come, and why.
    Ended(ReadError),
}

/// Tells the network what happens on one link.
#[derive(Debug)]
pub(super) struct LinkTeller {
    pub(super) link: LinkId,
    pub(super) network: mpsc::Sender<Happening>,
}

impl LinkTeller {
    /// Waits until there is room for the event. False if nobody wants events any more.
    pub(super) async fn tell(&self, event: LinkEvent) -> bool {
        self.network.send(Happening::OnLink(self.link, event)).await.is_ok()
    }

    /// Tells of progress, unless the node is behind with what it was told before.
    pub(super) fn tell_progress(&self) {
        let _ = self.network.try_send(Happening::OnLink(self.link, LinkEvent::Progress));
    }
}

/// Why a task cannot be called, for a person.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// It is not there, or not yet.
    Unreachable(String),
    /// Somebody is there, but the two do not know each other.
    Untrusted(String),
}

/// A caller that has introduced itself.
pub(super) struct Greeted {
    pub(super) reader: Reader<ReadEnd>,
    pub(super) write: WriteEnd,
    pub(super) is_local: bool,
    pub(super) first: Message,
    pub(super) permit: Permit,
}

impl Greeted {
    /// Who it says it is; it has proved it, if there is a way to prove it.
    pub(super) fn from(&self) -> Option<TaskId> {
        match &self.first {
            Message::Hello(hello) => Some(hello.from),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Greeted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Greeted").field("first", &self.first).finish_non_exhaustive()
    }
}
