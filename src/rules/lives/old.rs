//! Inputs that are older than what their process knows (rule 8).

use unisono_core::protocol::{Done, Input, Message, NetworkEvent};
use unisono_core::{Generation, LinkId};

use crate::lives::life::Life;

/// Why an input is older than what its process knows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Old {
    /// It came on a link that this end has closed, or knows to be closed.
    Link,
    /// It is the greeting of an older incarnation.
    Greeting(LinkId),
    /// It is a later message of an older incarnation.
    Life,
    /// It is of an older generation than the shard.
    Generation,
    /// It is the result of a job that a new generation has made void.
    Job,
}

impl Life {
    /// Returns why an input is old; `None` if the input is not.
    pub(crate) fn old(&self, input: &Input) -> Option<Old> {
        match input {
            Input::Network(NetworkEvent::Received { link, message }) => {
                let Some(session) = self.sessions.get(link) else { return Some(Old::Link) };
                let newest = |peer| self.let_in.get(&peer).copied();
                match (message, session.incarnation) {
                    (Message::Hello(hello), None) => {
                        (hello.incarnation < newest(hello.from)?).then_some(Old::Greeting(*link))
                    }
                    (Message::Welcome { incarnation, .. }, None) => {
                        (*incarnation < newest(session.peer?)?).then_some(Old::Greeting(*link))
                    }
                    (_, None) => None,
                    (_, of) if of < newest(session.peer?) => Some(Old::Life),
                    _ => (generation(message)? < self.shard.cut?.generation)
                        .then_some(Old::Generation),
                }
            }
            Input::Computed(Done::Update { cut, .. }) => {
                let is_awaited = self.shard.cut == Some(*cut) && self.shard.n_begun > 0;
                (!is_awaited).then_some(Old::Job)
            }
            Input::Computed(Done::Gradient { cut, .. }) => {
                (cut.generation < self.work.whole()?.generation).then_some(Old::Job)
            }
            _ => None,
        }
    }
}

/// Returns the generation of a message to a ps. `Pull` has none, because it asks for any generation
/// from its own on.
const fn generation(message: &Message) -> Option<Generation> {
    match message {
        Message::Push { cut, .. }
        | Message::Received { cut, .. }
        | Message::Chosen { cut, .. }
        | Message::Restore { cut, .. }
        | Message::Capture { cut, .. } => Some(cut.generation),
        _ => None,
    }
}
