//! The peers at the other ends of a node's links, derived from the node's inputs and effects.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, LinkId, TaskId};
use crate::protocol::{Effect, Input, Message, NetworkEvent};

/// The task at the other end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's task.
    pub task: TaskId,
    /// The task's incarnation, or `None` until the task's greeting has arrived.
    pub incarnation: Option<Incarnation>,
    /// The digest of the task's training data, or `None` if the task has sent no digest.
    pub data: Option<String>,
}

/// The peers at the other ends of one node's open links.
#[derive(Clone, Debug, Default)]
pub struct Peers(BTreeMap<LinkId, Peer>);

impl Peers {
    /// Returns the peer at the other end of a link, or `None` for a caller that has not sent its
    /// greeting.
    #[must_use]
    pub fn get(&self, link: LinkId) -> Option<&Peer> {
        self.0.get(&link)
    }

    /// Adds the peer that an input names. Must be called before the observers receive the input.
    pub fn add(&mut self, input: &Input) {
        match input {
            Input::Network(NetworkEvent::Connected { link, to }) => {
                self.0.insert(*link, Peer { task: *to, incarnation: None, data: None });
            }
            Input::Network(NetworkEvent::Received { link, message: Message::Hello(hello) }) => {
                let (incarnation, data) = (Some(hello.incarnation), hello.data.clone());
                self.0.insert(*link, Peer { task: hello.from, incarnation, data });
            }
            Input::Network(NetworkEvent::Received {
                link,
                message: Message::Welcome { incarnation, .. },
            }) => {
                if let Some(peer) = self.0.get_mut(link) {
                    peer.incarnation = Some(*incarnation);
                }
            }
            _ => {}
        }
    }

    /// Removes the peers of links that an input or its effects have closed. Must be called after
    /// the observers have received the input, because an observer may request the peer of a link
    /// that closes.
    pub fn remove(&mut self, input: &Input, effects: &[Effect]) {
        if let Input::Network(NetworkEvent::Closed { link, .. }) = input {
            self.0.remove(link);
        }
        for effect in effects {
            if let Effect::Close { link } = effect {
                self.0.remove(link);
            }
        }
    }
}
