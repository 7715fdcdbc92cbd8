//! Helpers for tests of observers.

use crate::Moment;
use crate::host::{Peers, Turn};
use crate::ids::TaskId;
use crate::protocol::{Effect, Input, Node, Standing, Status};

/// Turns of a node that a test scripts. The peers behind the links are tracked as in the production
/// loop.
#[derive(Clone, Debug, Default)]
pub struct ScriptedTurns {
    peers: Peers,
}

impl ScriptedTurns {
    /// Passes one turn to `observe`, and returns its result.
    pub fn turn<R>(
        &mut self,
        now: Moment,
        input: &Input,
        effects: &[Effect],
        observe: impl FnOnce(&Turn<'_>) -> R,
    ) -> R {
        self.peers.add(input);
        let result = observe(&Turn { now, input, effects, node: &IdleNode, peers: &self.peers });
        self.peers.remove(input, effects);
        result
    }
}

/// A node without a version that waits for nothing.
struct IdleNode;

impl Node for IdleNode {
    fn handle(&mut self, _now: Moment, _input: &Input, _out: &mut Vec<Effect>) {}

    fn deadline(&self) -> Option<Moment> {
        None
    }

    fn status(&self, _now: Moment) -> Status {
        Status { at: String::new(), does: String::new() }
    }

    fn standing(&self, _of: &mut dyn FnMut(TaskId)) -> Standing {
        Standing { cut: None, wait: None }
    }
}
