//! Turns the inputs and effects of a node into trace entries. The tracer uses no file and no clock,
//! and never reads the state of the node.

use unisono_core::host::Turn;

use super::entry::{Details, Entry};
use super::named_event::{EventKind, NamedEvent};
use crate::ledger::Loss;
use unisono_core::ids::{Cut, Generation, LinkId, TaskId};
use unisono_core::protocol::{
    Done, Effect, Input, Job, Message, NetworkEvent, Outcome, Report, StorageEvent, Want,
};

/// Returns the entry of an input.
#[must_use]
pub fn input_entry(turn: &Turn<'_>) -> Entry {
    let details = match turn.input {
        Input::Network(event) => of_network(turn, event),
        Input::Computed(Done::Gradient { cut, loss, .. }) => {
            Details { loss: Some(Loss(*loss)), ..of_generation(cut.generation) }
        }
        Input::Computed(Done::Update { cut, .. }) => of_generation(cut.generation),
        Input::Stored(event) => Details { note: of_storage(event), ..Details::default() },
        Input::Start | Input::Wake | Input::Stop => Details::default(),
    };
    Entry { what: NamedEvent::of_input(turn.input), details }
}

fn of_network(turn: &Turn<'_>, event: &NetworkEvent) -> Details {
    match event {
        NetworkEvent::ConnectFailed { to, why } => Details { peer: Some(*to), ..of_note(why) },
        NetworkEvent::Connected { link, .. }
        | NetworkEvent::Accepted { link }
        | NetworkEvent::Progress { link } => of_link(turn, *link),
        NetworkEvent::Received { link, message } => of_message(turn, *link, message),
        NetworkEvent::Closed { link, why } => {
            Details { note: Some(why.clone()), ..of_link(turn, *link) }
        }
    }
}

/// Returns the entry of an effect; `None` for a report about an event that the trace already shows
/// as an input.
#[must_use]
pub fn effect_entry(turn: &Turn<'_>, effect: &Effect) -> Option<Entry> {
    let what = NamedEvent::of_effect(effect)?;
    let details = match effect {
        Effect::Send { link, message } => of_message(turn, *link, message),
        Effect::Connect { to } => of_peer(*to),
        Effect::Close { link } => of_link(turn, *link),
        Effect::Compute(Job::Update { cut, gradients, .. }) => {
            let slots = gradients.iter().map(|(slot, _)| *slot).collect();
            Details { slots, ..of_generation(cut.generation) }
        }
        Effect::Compute(Job::Gradient { cut, .. }) => of_generation(cut.generation),
        Effect::Report(report) => of_report(report),
        Effect::Halt(Outcome::Failed(failure)) => of_note(&failure.to_string()),
        Effect::Halt(Outcome::Outdated { reason, .. }) => of_note(reason),
        Effect::Restore | Effect::Persist(_) | Effect::Record(_) | Effect::Halt(_) => {
            Details::default()
        }
    };
    Some(Entry { what, details })
}

fn of_link(turn: &Turn<'_>, link: LinkId) -> Details {
    let peer = turn.peer(link).map(|peer| peer.task);
    Details { link: Some(link), peer, ..Details::default() }
}

fn of_message(turn: &Turn<'_>, link: LinkId, message: &Message) -> Details {
    let details = of_link(turn, link);
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

/// Returns the details of a job or of its result, which are only the number of the generation.
fn of_generation(generation: Generation) -> Details {
    Details { generation: Some(generation.number), ..Details::default() }
}

fn of_note(note: &str) -> Details {
    Details { note: Some(note.to_owned()), ..Details::default() }
}

fn of_peer(peer: TaskId) -> Details {
    Details { peer: Some(peer), ..Details::default() }
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
    match report {
        Report::PeerUp { peer } => of_peer(*peer),
        Report::PeerDown { peer, why } => Details { peer: Some(*peer), ..of_note(why) },
        Report::TurnedAway { why: note } | Report::Waiting { what: note, .. } => of_note(note),
        Report::Dropped { worker, .. } => of_peer(*worker),
        Report::ShardLost { ps, live } => {
            Details { note: live.err().map(str::to_owned), ..of_peer(*ps) }
        }
        Report::Adopted { generation, restored, .. } => {
            Details { note: restored.clone().flatten(), ..of_generation(*generation) }
        }
        Report::Computed { .. }
        | Report::Updated { .. }
        | Report::Saved { .. }
        | Report::SaveFailed { .. } => Details::default(),
    }
}

/// Returns whether an input is written to the trace. Heartbeats, parts of messages and timers are
/// written only if they have effects.
#[must_use]
pub fn is_of_note(input: &Entry, does: &[Entry]) -> bool {
    !does.is_empty() || !input.is_noise()
}

/// Returns whether an effect is written to the trace. Sent heartbeats are not written.
#[must_use]
pub fn is_kept(effect: &Entry) -> bool {
    effect.what.kind != EventKind::SendsHeartbeat
}
