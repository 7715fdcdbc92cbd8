//! What the network's tasks tell it, and the way they take.

use tokio::sync::mpsc;

use super::connector::CallError;
use super::ends::Ends;
use super::entrance::Greeted;
use super::reader::ReadError;
use crate::ids::{LinkId, TaskId};
use crate::protocol::Message;

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
