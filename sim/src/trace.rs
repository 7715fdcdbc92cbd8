//! Everything that happened in a run, in order, each with what led to it.

use std::collections::BTreeMap;
use std::time::Duration;

use unisono::protocol::{Effect, Input, Message, NetworkEvent, Report, Status};

use crate::happening::Happening;
use crate::life::LifeId;
use crate::universe::Universe;

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// All inputs of all lives, in order.
    pub events: Vec<TracedEvent>,
    /// What each life said last of where it stood.
    pub statuses: BTreeMap<LifeId, Status>,
    open: BTreeMap<LifeId, usize>,
}

/// A node took an input.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedEvent {
    /// When, in virtual time.
    pub at: Duration,
    /// Who.
    pub life: LifeId,
    /// What.
    pub what: Happening,
    /// For a person.
    pub text: String,
    /// The number of the event that led to it: the one at which the message was sent, or the job
    /// begun. `None` for what comes by itself.
    pub cause: Option<u64>,
    /// What the node did.
    pub effects: Vec<TracedEffect>,
}

/// A node did something.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedEffect {
    /// What.
    pub what: Happening,
    /// To whom, if it was sent.
    pub to: Option<LifeId>,
    /// For a person.
    pub text: String,
    /// Whether it only tells, and does nothing.
    pub is_report: bool,
}

impl Trace {
    pub(crate) fn begin(
        &mut self,
        at: Duration,
        life: LifeId,
        what: Happening,
        input: &Input,
        cause: Option<u64>,
        universe: &Universe,
    ) {
        let text = describe_input(life, what, input, universe);
        self.open.insert(life, self.events.len());
        self.events.push(TracedEvent { at, life, what, text, cause, effects: Vec::new() });
    }

    pub(crate) fn end(
        &mut self,
        life: LifeId,
        status: Status,
        effects: &[Effect],
        universe: &Universe,
    ) {
        self.statuses.insert(life, status);
        let Some(event) = self.open.remove(&life) else { return };
        let traced = |effect: &Effect| {
            let what = Happening::of_effect(effect)?;
            let to = match effect {
                Effect::Send { link, .. } => universe.peer(*link, life),
                _ => None,
            };
            let is_report = matches!(effect, Effect::Report(_));
            Some(TracedEffect { what, to, text: describe_effect(what, to, effect), is_report })
        };
        self.events[event].effects = effects.iter().filter_map(traced).collect();
    }

    /// What led to an event, oldest first, the event itself last.
    #[must_use]
    pub fn chain(&self, event: usize) -> Vec<(usize, &TracedEvent)> {
        let mut chain = Vec::new();
        let mut next = Some(event);
        while let Some(number) = next
            && let Some(event) = self.events.get(number)
        {
            chain.push((number, event));
            next = event.cause.and_then(|cause| usize::try_from(cause).ok());
        }
        chain.reverse();
        chain
    }
}

fn place(what: Happening) -> String {
    match (what.step, what.slot) {
        (Some(step), Some(slot)) => format!(", step {step}, slot {slot}"),
        (Some(step), None) => format!(", step {step}"),
        _ => String::new(),
    }
}

fn describe_input(life: LifeId, what: Happening, input: &Input, universe: &Universe) -> String {
    let more = match input {
        Input::Network(NetworkEvent::Received { link, message }) => {
            let from = universe.peer(*link, life);
            let from = from.map_or_else(String::new, |from| format!(" from {from}"));
            format!("{from}{}", details(message))
        }
        Input::Network(NetworkEvent::Connected { to, .. }) => format!(" to {to}"),
        Input::Network(NetworkEvent::ConnectFailed { why, .. }) => format!(": {why}"),
        Input::Network(NetworkEvent::Closed { link, why }) => {
            let of = universe.peer(*link, life);
            let of = of.map_or_else(String::new, |of| format!(" with {of}"));
            format!("{of}: {why}")
        }
        _ => String::new(),
    };
    format!("{}{}{more}", what.kind, place(what))
}

fn describe_effect(what: Happening, to: Option<LifeId>, effect: &Effect) -> String {
    let to = to.map_or_else(String::new, |to| format!(" to {to}"));
    let more = match effect {
        Effect::Send { message, .. } => details(message),
        Effect::Connect { to } => format!(" to {to}"),
        Effect::Report(Report::Waiting { what, .. }) => format!(" {what}"),
        Effect::Report(Report::PeerDown { peer, why }) => format!(", {peer}: {why}"),
        Effect::Report(Report::PeerUp { peer }) => format!(", {peer}"),
        Effect::Report(Report::TurnedAway { why }) => format!(": {why}"),
        _ => String::new(),
    };
    format!("{}{}{to}{more}", what.kind, place(what))
}

fn details(message: &Message) -> String {
    match message {
        Message::Push { generation, .. } | Message::Version { generation, .. } => {
            format!(", generation {generation}")
        }
        Message::Chosen { slots, .. } | Message::Received { slots, .. } => {
            let slots: Vec<_> = slots.iter().map(ToString::to_string).collect();
            format!(", slots {}", slots.join(" "))
        }
        Message::PushReply { verdict, .. } => format!(", {verdict:?}"),
        Message::Refused { reason, .. } => format!(": {reason}"),
        Message::Abort(failure) => format!(": {failure}"),
        _ => String::new(),
    }
}
