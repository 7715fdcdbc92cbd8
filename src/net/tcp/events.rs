//! The events that spawned tasks send to the network.

use crate::tcp::admission::Permit;
use crate::tcp::security::halves::Halves;
use tokio::sync::mpsc;

use super::reader::ReadError;
use unisono_core::ids::{LinkId, TaskId};
use unisono_core::protocol::Message;

/// An event that a spawned task of the network sends.
#[derive(Debug)]
pub(super) enum NetworkTaskEvent {
    /// A call to another task succeeded or failed.
    CallFinished { to: TaskId, result: Result<Halves, CallError> },
    /// A caller was accepted, and has sent its first message.
    Accepted(GreetedCaller, Permit),
    /// An event of one link's reader.
    Link(LinkId, LinkEvent),
}

/// An event of a link's reader.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// A whole message arrived.
    Received(Message),
    /// A part of a long message arrived.
    Progress,
    /// The reader stopped for this reason. No further event of the link follows.
    Ended(ReadError),
}

/// Sends the events of one link to the network.
#[derive(Debug)]
pub(super) struct LinkEventSender {
    pub(super) link: LinkId,
    pub(super) network: mpsc::Sender<NetworkTaskEvent>,
}

impl LinkEventSender {
    /// Sends an event. Waits until the queue has room. Returns `false` if the network was dropped.
    pub(super) async fn send(&self, event: LinkEvent) -> bool {
        self.network.send(NetworkTaskEvent::Link(self.link, event)).await.is_ok()
    }

    /// Sends a progress event. If the queue is full, drops the event.
    pub(super) fn send_progress(&self) {
        // Progress only shows that the peer is alive, so an event may be lost. Waiting here would
        // stop the reader in the middle of a message.
        let _ = self.network.try_send(NetworkTaskEvent::Link(self.link, LinkEvent::Progress));
    }
}

/// The reason for which a call failed, as text for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// No connection could be made.
    Unreachable(String),
    /// A connection was made, but one of the two ends failed to authenticate.
    Untrusted(String),
}

/// A caller that has authenticated and sent its first message.
#[derive(Debug)]
pub(super) struct GreetedCaller {
    pub(super) halves: Halves,
    pub(super) first: Message,
}

impl GreetedCaller {
    /// Returns the task that the caller claims to be; `None` if its first message is not a hello.
    /// With TLS or a secret, the claim has been checked.
    pub(super) fn claimed_task(&self) -> Option<TaskId> {
        match &self.first {
            Message::Hello(hello) => Some(hello.from),
            _ => None,
        }
    }
}
