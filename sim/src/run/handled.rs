//! Records the input that a node is handling, so that the report of a panic can name the input. The
//! observer cannot record the input, because the observer sees an input only after the node has
//! handled it.

use std::sync::{Arc, Mutex};

use unisono_core::protocol::{Effect, Input, Node, Standing, Status};
use unisono_core::{Moment, TaskId};
use unisono_observe::trace::NamedEvent;

use crate::lock::lock;
use crate::run::live_record::LiveRecord;

/// A node that records which input it handles.
pub(crate) struct Handled {
    pub(crate) node: Box<dyn Node>,
    pub(crate) record: Arc<Mutex<LiveRecord>>,
}

impl Node for Handled {
    fn handle(&mut self, now: Moment, input: &Input, out: &mut Vec<Effect>) {
        lock(&self.record).handled = Some(NamedEvent::of_input(input));
        self.node.handle(now, input, out);
        lock(&self.record).handled = None;
    }

    fn deadline(&self) -> Option<Moment> {
        self.node.deadline()
    }

    fn status(&self, now: Moment) -> Status {
        self.node.status(now)
    }

    fn standing(&self, of: &mut dyn FnMut(TaskId)) -> Standing {
        self.node.standing(of)
    }
}
