//! Makes trace entries from the inputs and effects of a node. Uses no file and no clock, and asks
//! the node nothing.

use std::collections::BTreeMap;

use super::entry::{Details, Entry};
use super::named_event::{EventKind, NamedEvent};
use crate::ledger::Loss;
use unisono_core::ids::{Cut, LinkId, TaskId};
use unisono_core::protocol::{
    Done, Effect, Input, Job, Message, NetworkEvent, Outcome, Report, StorageEvent, Want,
};

/// Observes one incarnation of a task.
#[derive(Debug, Default)]
pub struct Tracer {
    /// Task at the other end of each link, once it is known.
    peers: BTreeMap<LinkId, TaskId>,
}

impl Tracer {
    /// Returns the entry of an input.
    pub fn of_input(&mut self, input: &Input) -> Entry {
        let details = match input {
            Input::Network(event) => self.of_network(event),
            Input::Computed(Done::Gradient { cut, loss, .. }) => {
                Details { loss: Some(Loss(*loss)), ..of_cut(cut) }
            }
            Input::Computed(Done::Update { cut, .. }) => of_cut(cut),
            Input::Stored(event) => Details { note: of_storage(event), ..Details::default() },
            Input::Start | Input::Wake | Input::Stop => Details::default(),
        };
        Entry { what: NamedEvent::of_input(input), details }
    }

    fn of_network(&mut self, event: &NetworkEvent) -> Details {
        match event {
            NetworkEvent::Connected { link, to } => {
                self.peers.insert(*link, *to);
                self.on(*link)
            }
            NetworkEvent::ConnectFailed { to, why } => {
                Details { peer: Some(*to), note: Some(why.clone()), ..Details::default() }
            }
            NetworkEvent::Accepted { link } | NetworkEvent::Progress { link } => self.on(*link),
            NetworkEvent::Received { link, message } => {
                if let Message::Hello(hello) = message {
                    self.peers.insert(*link, hello.from);
                }
                self.message(*link, message)
            }
            NetworkEvent::Closed { link, why } => {
                let details = Details { note: Some(why.clone()), ..self.on(*link) };
                self.peers.remove(link);
                details
            }
        }
    }

    /// Returns the entry of an effect. `None` if an input or a later event already shows it.
    pub fn of_effect(&mut self, effect: &Effect) -> Option<Entry> {
        let what = NamedEvent::of_effect(effect)?;
        let details = match effect {
            Effect::Send { link, message } => self.message(*link, message),
            Effect::Connect { to } => Details { peer: Some(*to), ..Details::default() },
            Effect::Close { link } => {
                let details = self.on(*link);
                self.peers.remove(link);
                details
            }
            Effect::Compute(Job::Update { cut, gradients, .. }) => {
                let slots = gradients.iter().map(|(slot, _)| *slot).collect();
                Details { slots, ..of_cut(cut) }
            }
            Effect::Compute(Job::Gradient { cut, .. }) => of_cut(cut),
            Effect::Report(report) => of_report(report),
            Effect::Halt(Outcome::Failed(failure)) => {
                Details { note: Some(failure.to_string()), ..Details::default() }
            }
            Effect::Halt(Outcome::Outdated { reason, .. }) => {
                Details { note: Some(reason.clone()), ..Details::default() }
            }
            Effect::Restore | Effect::Persist(_) | Effect::Record(_) | Effect::Halt(_) => {
                Details::default()
            }
        };
        Some(Entry { what, details })
    }

    fn on(&self, link: LinkId) -> Details {
        let peer = self.peers.get(&link).copied();
        Details { link: Some(link), peer, ..Details::default() }
    }

    fn message(&self, link: LinkId, message: &Message) -> Details {
        let details = self.on(link);
        let n_values: usize = message.tensors().iter().map(|tensor| tensor.len()).sum();
        let bytes = Some(4 * n_values as u64).filter(|bytes| *bytes > 0);
        let details = Details { bytes, ..details };
        match message {
            Message::Hello(hello) => Details { incarnation: Some(hello.incarnation), ..details },
            Message::Welcome { incarnation, .. } => {
                Details { incarnation: Some(*incarnation), ..details }
            }
            Message::Push { cut: Cut { generation, .. }, .. }
            | Message::Version { cut: Cut { generation, .. }, .. }
            | Message::Restore { cut: Cut { generation, .. }, .. }
            | Message::Restored { generation }
            | Message::Pull { want: Want::AtLeast(Cut { generation, .. }), .. } => {
                Details { generation: Some(generation.number), ..details }
            }
            Message::Received { slots, .. } | Message::Chosen { slots, .. } => {
                Details { slots: slots.clone(), ..details }
            }
            Message::PushReply { verdict, .. } => {
                Details { note: Some(format!("{verdict:?}").to_lowercase()), ..details }
            }
            Message::Refused { reason, .. } => Details { note: Some(reason.clone()), ..details },
            Message::Abort(failure) => Details { note: Some(failure.to_string()), ..details },
            _ => details,
        }
    }
}

/// Returns the details of a job or its result: the number of the generation.
fn of_cut(cut: &Cut) -> Details {
    Details { generation: Some(cut.generation.number), ..Details::default() }
}

fn of_storage(event: &StorageEvent) -> Option<String> {
    match event {
        StorageEvent::Restored(Ok(restored)) => restored.from.clone(),
        StorageEvent::Restored(Err(why)) => Some(why.clone()),
        StorageEvent::Persisted { result: Ok(path) | Err(path), .. } => Some(path.clone()),
        StorageEvent::NotRepeated(why) => Some(why.to_string()),
    }
}

fn of_report(report: &Report) -> Details {
    let details = Details::default();
    match report {
        Report::PeerUp { peer } => Details { peer: Some(*peer), ..details },
        Report::PeerDown { peer, why } => {
            Details { peer: Some(*peer), note: Some(why.clone()), ..details }
        }
        Report::TurnedAway { why } => Details { note: Some(why.clone()), ..details },
        Report::Waiting { what, .. } => Details { note: Some(what.clone()), ..details },
        Report::Dropped { worker, .. } => Details { peer: Some(*worker), ..details },
        Report::ShardLost { ps, live } => {
            Details { peer: Some(*ps), note: live.err().map(str::to_owned), ..details }
        }
        Report::Adopted { generation, restored, .. } => Details {
            generation: Some(generation.number),
            note: restored.clone().flatten(),
            ..details
        },
        Report::Computed { .. }
        | Report::Updated { .. }
        | Report::Saved { .. }
        | Report::SaveFailed { .. } => details,
    }
}

/// Returns whether an event is worth a line. Heartbeats and timers are not.
#[must_use]
pub fn is_of_note(input: &Entry, does: &[Entry]) -> bool {
    !does.is_empty() || !input.is_noise()
}

/// Returns whether an effect is worth its place in a line.
#[must_use]
pub fn is_kept(effect: &Entry) -> bool {
    effect.what.kind != EventKind::SendsHeartbeat
}
