//! Finds outdated inputs, such as messages of an older generation (rule 8).

use unisono_core::protocol::{Done, Input, Message, NetworkEvent};
use unisono_core::{Generation, LinkId};

use crate::lives::life::Life;

/// The reason why an input is outdated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Old {
    /// The input came on a link that the process has closed, or knows to be closed.
    Link,
    /// The input is a `Hello` or `Welcome` of an older incarnation of the peer.
    Greeting(LinkId),
    /// The input is a later message of an older incarnation of the peer.
    Life,
    /// The input is a message of an older generation than the generation of the shard.
    Generation,
    /// The input is the result of a job that became void when a new generation was opened.
    Job,
}

impl Life {
    /// Returns the reason why an input is outdated; `None` if the input is not outdated.
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
                (cut.generation < self.work.whole?.generation).then_some(Old::Job)
            }
            _ => None,
        }
    }
}

/// Returns the generation of a message to a ps. `Pull` counts as a message without a generation,
/// because a `Pull` accepts its own generation and every newer generation.
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
