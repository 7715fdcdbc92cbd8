//! The trace of a run: all events in order, each with the event that caused it.

use std::collections::BTreeMap;
use std::time::Duration;

use unisono_config::RunConfig;
use unisono_core::Step;
use unisono_core::host::Turn;
use unisono_core::protocol::{Effect, Input, Message, NetworkEvent, Report, Status};
use unisono_observe::trace::line::FORMAT;
use unisono_observe::trace::{
    Details, Entry, Event, LifeHeader, NamedEvent, Run, TracedLife, tracer,
};
use unisono_rules::LifeId;

use crate::world::universe::Universe;

/// The trace of a whole run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The inputs of all incarnations of all tasks, in the order of virtual time.
    pub events: Vec<TracedEvent>,
    /// The last status that the node of each incarnation reported.
    pub statuses: BTreeMap<LifeId, Status>,
    open: BTreeMap<LifeId, usize>,
}

/// An input that a node took, and the effects that the node returned for the input.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedEvent {
    /// The virtual time of the input.
    pub at: Duration,
    /// The incarnation of the task that took the input.
    pub life: LifeId,
    /// The kind of the input, with its step and slot.
    pub what: NamedEvent,
    /// All further fields of the input that the trace of a real run also contains.
    pub details: Details,
    /// A description for the user.
    pub text: String,
    /// The index in [`Trace::events`] of the event that sent the received message or began the
    /// completed job. `None` for an input that no event caused, such as a deadline.
    pub cause: Option<u64>,
    /// The effects of the node.
    pub effects: Vec<TracedEffect>,
}

/// An effect of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedEffect {
    /// The kind of the effect, with its step and slot.
    pub what: NamedEvent,
    /// All further fields of the effect that the trace of a real run also contains.
    pub details: Details,
    /// The receiver, if the effect sends a message.
    pub to: Option<LifeId>,
    /// A description for the user.
    pub text: String,
    /// Whether the effect is a report, which changes nothing.
    pub is_report: bool,
}

impl Trace {
    pub(crate) fn begin(
        &mut self,
        at: Duration,
        life: LifeId,
        turn: &Turn<'_>,
        cause: Option<u64>,
        universe: &Universe,
    ) {
        let Entry { what, details } = tracer::input_entry(turn);
        let text = describe_input(life, what, turn.input, universe);
        self.open.insert(life, self.events.len());
        self.events.push(TracedEvent { at, life, what, details, text, cause, effects: Vec::new() });
    }

    pub(crate) fn end(&mut self, life: LifeId, turn: &Turn<'_>, universe: &Universe) {
        self.statuses.insert(life, turn.node.status(turn.now));
        let Some(event) = self.open.remove(&life) else { return };
        let traced = |effect: &Effect| {
            let Entry { what, details } = tracer::effect_entry(turn, effect)?;
            let to = match effect {
                Effect::Send { link, .. } => universe.peer(*link, life),
                _ => None,
            };
            let is_report = matches!(effect, Effect::Report(_));
            let text = describe_effect(what, to, effect);
            Some(TracedEffect { what, details, to, text, is_report })
        };
        self.events[event].effects = turn.effects.iter().filter_map(traced).collect();
    }

    /// Converts the trace into a [`Run`], the content of the trace files that a real run would have
    /// written.
    #[must_use]
    pub fn to_run(&self, config: &RunConfig) -> Run {
        let mut lives: BTreeMap<LifeId, Vec<Event>> = BTreeMap::new();
        for event in &self.events {
            let entry = |what, details: &Details| Entry { what, details: details.clone() };
            let done = |effect: &TracedEffect| entry(effect.what, &effect.details);
            lives.entry(event.life).or_default().push(Event {
                at: event.at,
                input: entry(event.what, &event.details),
                does: event.effects.iter().map(done).collect(),
            });
        }
        let life = |(id, events): (LifeId, Vec<Event>)| TracedLife {
            header: LifeHeader {
                format: FORMAT,
                task: id.task,
                incarnation: id.incarnation,
                // All tasks share the virtual time, so no clock has to be aligned.
                origin: Duration::ZERO,
                n_ps: config.n_ps,
                replicas_to_aggregate: config.sync.replicas_to_aggregate,
                total_num_replicas: config.sync.total_num_replicas,
                training_steps: Step(config.train.training_steps),
            },
            events,
            cut: None,
        };
        Run { lives: lives.into_iter().map(life).collect() }
    }

    /// Returns the chain of events that caused an event, oldest first. The event itself is the last
    /// one.
    pub(crate) fn chain(&self, event: usize) -> Vec<(usize, &TracedEvent)> {
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

fn step_and_slot(what: NamedEvent) -> String {
    match (what.step, what.slot) {
        (Some(step), Some(slot)) => format!(", step {step}, slot {slot}"),
        (Some(step), None) => format!(", step {step}"),
        _ => String::new(),
    }
}

fn describe_input(life: LifeId, what: NamedEvent, input: &Input, universe: &Universe) -> String {
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
    format!("{}{}{more}", what.kind, step_and_slot(what))
}

fn describe_effect(what: NamedEvent, to: Option<LifeId>, effect: &Effect) -> String {
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
    format!("{}{}{to}{more}", what.kind, step_and_slot(what))
}

fn details(message: &Message) -> String {
    match message {
        Message::Push { cut, .. } | Message::Version { cut, .. } => {
            format!(", generation {}", cut.generation)
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
