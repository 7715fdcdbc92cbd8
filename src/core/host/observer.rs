//! Observers of a node. The loop passes each turn of the node (one handled input with its effects)
//! to the observers as one value.

use std::fmt;

use super::{Peer, Peers};
use crate::ids::LinkId;
use crate::protocol::{Effect, Input, Node};
use crate::time::Moment;

/// One turn of a node: an input that the node has handled, and the resulting effects. The loop
/// carries out the effects after all observers have received the turn.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// Time of the turn, on the node's clock.
    pub now: Moment,
    /// The input.
    pub input: &'a Input,
    /// The effects of the input, in the order in which the loop carries them out.
    pub effects: &'a [Effect],
    /// The node in its state after the input.
    pub node: &'a dyn Node,
    /// The peers at the other ends of the node's links, including the links that the input or the
    /// effects open or close.
    pub peers: &'a Peers,
}

impl Turn<'_> {
    /// Returns the peer at the other end of a link, or `None` for a caller that has not sent its
    /// greeting.
    #[must_use]
    pub fn peer(&self, link: LinkId) -> Option<&Peer> {
        self.peers.get(link)
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, input, effects, .. } = self;
        let mut turn = f.debug_struct("Turn");
        turn.field("now", now)
            .field("input", input)
            .field("effects", effects)
            .finish_non_exhaustive()
    }
}

/// An observer of a node. The node does not depend on its observers.
///
/// The loop carries out the effects of an input after all observers have returned, so that an
/// observer can write a record of an effect before the effect happens. In a tuple of observers, the
/// first observer is called first.
pub trait Observer {
    /// Observes one turn.
    fn turn(&mut self, turn: &Turn<'_>);
}

impl Observer for () {
    fn turn(&mut self, _turn: &Turn<'_>) {}
}

impl<A: Observer, B: Observer> Observer for (A, B) {
    fn turn(&mut self, turn: &Turn<'_>) {
        self.0.turn(turn);
        self.1.turn(turn);
    }
}

impl<A: Observer> Observer for Option<A> {
    fn turn(&mut self, turn: &Turn<'_>) {
        if let Some(observer) = self {
            observer.turn(turn);
        }
    }
}
