//! The names of the events of a node, that is, of its inputs and effects.
//!
//! Traces contain these names. In the simulator, faults can wait for a named event, and scenarios
//! can expect a named event.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{
    Done, Effect, Input, Job, Message, NetworkEvent, Outcome, Report, StorageEvent, Verdict,
};

macro_rules! event_kinds {
    ($( $(#[doc = $doc:literal])* $variant:ident = $name:literal, )*) => {
        /// The kind of an event: an input or an effect of a node.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum EventKind { $( $(#[doc = $doc])* $variant, )* }

        impl EventKind {
            /// All kinds, in order.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];

            /// All kinds with their names, in order.
            pub const NAMED: &[(Self, &'static str)] = &[ $( (Self::$variant, $name), )* ];

            /// Returns the name in scenario files and traces.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// Returns the meaning of the kind, as one or more sentences for the user.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),*), )* }
            }
        }
    };
}

event_kinds! {
    /// An incarnation of a task starts.
    Starts = "starts",
    /// A task calls another task.
    Connects = "connects",
    /// The called task accepted the connection.
    Connected = "connected",
    /// The connection could not be opened.
    ConnectFailed = "connect-failed",
    /// A connection from a caller was accepted.
    Accepted = "accepted",
    /// A task closes a link.
    Closes = "closes",
    /// The peer closed a link, or the link broke.
    Closed = "closed",
    /// A caller sends its greeting.
    SendsHello = "sends-hello",
    /// A called task receives the greeting of a caller.
    ReceivesHello = "receives-hello",
    /// A called task accepts a caller's greeting.
    SendsWelcome = "sends-welcome",
    /// A caller's greeting was accepted.
    ReceivesWelcome = "receives-welcome",
    /// A called task refuses a caller's greeting.
    SendsRefused = "sends-refused",
    /// A caller's greeting was refused.
    ReceivesRefused = "receives-refused",
    /// A task sends a heartbeat.
    SendsHeartbeat = "sends-heartbeat",
    /// A task receives a heartbeat.
    ReceivesHeartbeat = "receives-heartbeat",
    /// A worker requests a version.
    SendsPull = "sends-pull",
    /// A ps receives a request for a version.
    ReceivesPull = "receives-pull",
    /// A worker sends a shard's part of a gradient.
    SendsPush = "sends-push",
    /// A ps receives a gradient.
    ReceivesPush = "receives-push",
    /// A ps tells a worker that its gradient is not used.
    SendsPushReply = "sends-push-reply",
    /// A worker learns that its gradient is not used.
    ReceivesPushReply = "receives-push-reply",
    /// A ps acknowledges pushes.
    SendsAcknowledged = "sends-acknowledged",
    /// A worker receives the acknowledgement of its pushes.
    ReceivesAcknowledged = "receives-acknowledged",
    /// A ps sends a version.
    SendsVersion = "sends-version",
    /// A worker receives one shard's version.
    ReceivesVersion = "receives-version",
    /// A ps tells ps 0 which slots it holds.
    SendsReceived = "sends-received",
    /// Ps 0 learns which slots a ps holds.
    ReceivesReceived = "receives-received",
    /// Ps 0 tells a ps which slots an update uses.
    SendsChosen = "sends-chosen",
    /// A ps learns which slots an update uses.
    ReceivesChosen = "receives-chosen",
    /// The chief sends a ps its state.
    SendsRestore = "sends-restore",
    /// A ps receives its state.
    ReceivesRestore = "receives-restore",
    /// A ps confirms that it has its state.
    SendsRestored = "sends-restored",
    /// The chief learns that a ps has its state.
    ReceivesRestored = "receives-restored",
    /// The chief requests the state of a ps.
    SendsCapture = "sends-capture",
    /// A ps receives a request for its state.
    ReceivesCapture = "receives-capture",
    /// A ps sends its state.
    SendsCaptured = "sends-captured",
    /// The chief receives the state of a ps.
    ReceivesCaptured = "receives-captured",
    /// A ps reports that it has passed the version that the chief requested for a checkpoint.
    SendsMissed = "sends-missed",
    /// The chief learns that a ps has passed the version that the chief requested.
    ReceivesMissed = "receives-missed",
    /// A task sends the news that the final checkpoint is durable.
    SendsFinished = "sends-finished",
    /// A task learns that the final checkpoint is durable.
    ReceivesFinished = "receives-finished",
    /// A worker says that it leaves.
    SendsGoodbye = "sends-goodbye",
    /// A ps learns that a worker leaves.
    ReceivesGoodbye = "receives-goodbye",
    /// A task says that the run cannot continue.
    SendsAbort = "sends-abort",
    /// A task learns that the run cannot continue.
    ReceivesAbort = "receives-abort",
    /// Bytes of a long message arrive.
    Progress = "progress",
    /// A worker starts to compute a gradient.
    Computes = "computes",
    /// A gradient is computed.
    Computed = "computed",
    /// A ps starts to compute an update.
    Updates = "updates",
    /// An update is computed, and the shard is at the next version.
    Updated = "updated",
    /// The chief starts to read the newest checkpoint.
    Reads = "reads",
    /// The newest checkpoint, or the initial values, were read.
    Read = "read",
    /// No checkpoint could be read.
    ReadFailed = "read-failed",
    /// The chief starts to write an update's losses.
    Records = "records",
    /// The chief starts to write a checkpoint.
    Saves = "saves",
    /// A checkpoint is durable.
    Saved = "saved",
    /// A checkpoint could not be written.
    SaveFailed = "save-failed",
    /// An update was recomputed after a rollback, and its losses differ from those of the first
    /// computation.
    NotRepeated = "not-repeated",
    /// A deadline of the task was reached.
    Wakes = "wakes",
    /// The task is asked to stop.
    AskedToStop = "asked-to-stop",
    /// A session with a peer was opened.
    PeerUp = "peer-up",
    /// A session with a peer ended.
    PeerDown = "peer-down",
    /// A task reports that it refused a caller.
    TurnedAway = "turned-away",
    /// A task reports that it has waited for at least `report_after`.
    Waits = "waits",
    /// A ps drops a gradient of an older version.
    DropsStale = "drops-stale",
    /// A ps drops the second copy of a gradient.
    DropsDuplicate = "drops-duplicate",
    /// A ps drops a gradient of another generation.
    DropsFenced = "drops-fenced",
    /// A ps drops a gradient that is not among the R gradients of the update.
    DropsSurplus = "drops-surplus",
    /// The chief finds that a ps has lost its shard. If the chief still holds a whole version, all
    /// tasks continue from that version, and the event has the step of that version.
    ShardLost = "shard-lost",
    /// The chief adopts the state that it finds.
    Adopts = "adopts",
    /// The chief has restored all shards, in a new generation.
    Restores = "restores",
    /// The task halts because the run is finished.
    Finishes = "finishes",
    /// The task halts because it was asked to stop.
    Stops = "stops",
    /// The task halts because it cannot continue.
    Fails = "fails",
    /// The task halts because a peer knows a newer incarnation of the task. The process then tries
    /// again with a larger incarnation.
    Outdated = "outdated",
}

impl EventKind {
    /// Returns the kind of the event that sends the message, if this kind is the receipt of a
    /// message.
    #[must_use]
    pub fn sent_as(self) -> Option<Self> {
        // In the list of kinds, the sending of each message is directly before its receipt.
        self.name().starts_with("receives-").then(|| Self::ALL[self as usize - 1])
    }

    /// Returns the kind of the event that receives a message. `self` is the kind of the event that
    /// sends the message.
    const fn received_as(self) -> Self {
        Self::ALL[self as usize + 1]
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let found = Self::ALL.iter().copied().find(|kind| kind.name() == name);
        found.ok_or_else(|| de::Error::custom(format!("there is no event named {name:?}")))
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An event of a node, with its step and slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedEvent {
    /// Kind of the event.
    #[serde(rename = "what")]
    pub kind: EventKind,
    /// Step of the event, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Slot of the event, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
}

impl NamedEvent {
    const fn new(kind: EventKind) -> Self {
        Self { kind, step: None, slot: None }
    }

    const fn at(kind: EventKind, step: Step) -> Self {
        Self { kind, step: Some(step), slot: None }
    }

    const fn of(kind: EventKind, step: Step, slot: Slot) -> Self {
        Self { kind, step: Some(step), slot: Some(slot) }
    }

    /// Returns whether the event is an input of the node; otherwise it is an effect.
    #[must_use]
    pub fn is_input(&self) -> bool {
        use EventKind::*;
        match self.kind {
            Starts | Connected | ConnectFailed | Accepted | Closed | Progress | Computed
            | Updated | Read | ReadFailed | Saved | SaveFailed | NotRepeated | Wakes
            | AskedToStop => true,
            other => other.sent_as().is_some(),
        }
    }

    /// Returns the event of an input.
    #[must_use]
    pub fn of_input(input: &Input) -> Self {
        use EventKind as E;
        match input {
            Input::Start => Self::new(E::Starts),
            Input::Network(event) => Self::of_network(event),
            Input::Computed(Done::Gradient { cut, slot, .. }) => {
                Self::of(E::Computed, cut.step, *slot)
            }
            Input::Computed(Done::Update { cut, .. }) => Self::at(E::Updated, cut.step),
            Input::Stored(StorageEvent::Restored(Ok(restored))) => {
                Self::at(E::Read, restored.snapshot.cut.step)
            }
            Input::Stored(StorageEvent::Restored(Err(_))) => Self::new(E::ReadFailed),
            Input::Stored(StorageEvent::Persisted { step, result }) => {
                Self::at(if result.is_ok() { E::Saved } else { E::SaveFailed }, *step)
            }
            Input::Stored(StorageEvent::NotRepeated(why)) => {
                Self::of(E::NotRepeated, why.step, why.slot)
            }
            Input::Wake => Self::new(E::Wakes),
            Input::Stop => Self::new(E::AskedToStop),
        }
    }

    const fn of_network(event: &NetworkEvent) -> Self {
        use EventKind as E;
        match event {
            NetworkEvent::Connected { .. } => Self::new(E::Connected),
            NetworkEvent::ConnectFailed { .. } => Self::new(E::ConnectFailed),
            NetworkEvent::Accepted { .. } => Self::new(E::Accepted),
            NetworkEvent::Received { message, .. } => {
                let sent = Self::of_sent(message);
                Self { kind: sent.kind.received_as(), ..sent }
            }
            NetworkEvent::Progress { .. } => Self::new(E::Progress),
            NetworkEvent::Closed { .. } => Self::new(E::Closed),
        }
    }

    /// Returns the event of an effect; `None` for a report about an event that was already an
    /// input.
    #[must_use]
    pub const fn of_effect(effect: &Effect) -> Option<Self> {
        use EventKind as E;
        Some(match effect {
            Effect::Connect { .. } => Self::new(E::Connects),
            Effect::Send { message, .. } => Self::of_sent(message),
            Effect::Close { .. } => Self::new(E::Closes),
            Effect::Compute(Job::Gradient { cut, slot, .. }) => {
                Self::of(E::Computes, cut.step, *slot)
            }
            Effect::Compute(Job::Update { cut, .. }) => Self::at(E::Updates, cut.step),
            Effect::Restore => Self::new(E::Reads),
            Effect::Persist(_) => Self::new(E::Saves),
            Effect::Record(update) => Self::at(E::Records, update.cut.step),
            Effect::Report(report) => return Self::of_report(report),
            Effect::Halt(Outcome::Finished) => Self::new(E::Finishes),
            Effect::Halt(Outcome::Stopped { .. }) => Self::new(E::Stops),
            Effect::Halt(Outcome::Failed(_)) => Self::new(E::Fails),
            Effect::Halt(Outcome::Outdated { .. }) => Self::new(E::Outdated),
        })
    }

    const fn of_report(report: &Report) -> Option<Self> {
        use EventKind as E;
        Some(match report {
            Report::PeerUp { .. } => Self::new(E::PeerUp),
            Report::PeerDown { .. } => Self::new(E::PeerDown),
            Report::TurnedAway { .. } => Self::new(E::TurnedAway),
            Report::Waiting { .. } => Self::new(E::Waits),
            Report::Dropped { step, slot, verdict, .. } => {
                let kind = match verdict {
                    Some(Verdict::Stale) => E::DropsStale,
                    Some(Verdict::Duplicate) => E::DropsDuplicate,
                    Some(Verdict::Fenced) => E::DropsFenced,
                    None => E::DropsSurplus,
                };
                Self::of(kind, *step, *slot)
            }
            Report::ShardLost { live, .. } => {
                let step = if let Ok(step) = live { Some(*step) } else { None };
                Self { kind: E::ShardLost, step, slot: None }
            }
            Report::Adopted { step, restored, .. } => {
                let kind = if restored.is_none() { E::Adopts } else { E::Restores };
                Self { kind, step: *step, slot: None }
            }
            Report::Computed { .. }
            | Report::Updated { .. }
            | Report::Saved { .. }
            | Report::SaveFailed { .. } => return None,
        })
    }

    /// Returns the event of sending a message.
    const fn of_sent(message: &Message) -> Self {
        use EventKind as E;
        match message {
            Message::Hello(_) => Self::new(E::SendsHello),
            Message::Welcome { .. } => Self::new(E::SendsWelcome),
            Message::Refused { .. } => Self::new(E::SendsRefused),
            Message::Heartbeat => Self::new(E::SendsHeartbeat),
            Message::Pull { want, .. } => Self::at(E::SendsPull, want.cut().step),
            Message::Push { cut, slot, .. } => Self::of(E::SendsPush, cut.step, *slot),
            Message::PushReply { cut, slot, .. } => Self::of(E::SendsPushReply, cut.step, *slot),
            Message::Version { cut, .. } => Self::at(E::SendsVersion, cut.step),
            Message::Received { cut, .. } => Self::at(E::SendsReceived, cut.step),
            Message::Chosen { cut, .. } => Self::at(E::SendsChosen, cut.step),
            Message::Restore { cut, .. } => Self::at(E::SendsRestore, cut.step),
            Message::Restored { .. } => Self::new(E::SendsRestored),
            Message::Capture { cut } => Self::at(E::SendsCapture, cut.step),
            Message::Captured { cut, .. } => Self::at(E::SendsCaptured, cut.step),
            Message::Missed { cut, .. } => Self::at(E::SendsMissed, cut.step),
            Message::Finished { .. } => Self::new(E::SendsFinished),
            Message::Acknowledged { .. } => Self::new(E::SendsAcknowledged),
            Message::Goodbye => Self::new(E::SendsGoodbye),
            Message::Abort(_) => Self::new(E::SendsAbort),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_events_are_distinct_and_parse_back() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::from_value::<EventKind>(kind.name().into()).unwrap(), *kind);
        }
    }

    #[test]
    fn every_kind_of_receiving_event_has_a_kind_of_sending_event() {
        for kind in EventKind::ALL {
            assert!(kind.sent_as().is_none_or(|sent| sent.received_as() == *kind));
            let sent = kind.sent_as().map(|sent| sent.name().to_owned());
            let expected = kind.name().strip_prefix("receives-").map(|of| format!("sends-{of}"));
            assert_eq!(sent, expected);
        }
    }
}
