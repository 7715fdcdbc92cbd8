//! The names of events at a node, that is, of its inputs and effects.
//!
//! Traces record events by these names. The simulator's faults are triggered by them, and its
//! scenarios expect them.

use std::fmt;
use unisono_core::ids::Cut;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{
    Done, Effect, Input, Job, Message, NetworkEvent, Report, StorageEvent, Verdict,
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

            /// Returns the name in scenario files and traces.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// Returns the meaning, as one or more sentences for the user.
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
    /// A ps reports that it is past the version to be captured.
    SendsMissed = "sends-missed",
    /// The chief learns that a ps is past the version to be captured.
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
    /// An update was recomputed after a rollback, and its losses differ from the first time.
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
    /// A task reports that it has waited longer than the limit.
    Waits = "waits",
    /// A ps drops a gradient of an older version.
    DropsStale = "drops-stale",
    /// A ps drops the second copy of a gradient.
    DropsDuplicate = "drops-duplicate",
    /// A ps drops a gradient of another generation.
    DropsFenced = "drops-fenced",
    /// A ps drops a gradient that is not among the first R.
    DropsSurplus = "drops-surplus",
    /// The chief finds a ps without its shard. The step is the version that all tasks continue
    /// from, if the chief still holds that version.
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
    /// The task halts because a peer knows a newer incarnation; its process retries with a larger
    /// one.
    Outdated = "outdated",
}

impl EventKind {
    /// Returns the kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Returns the kind of the sender's event, if this kind is the receiving of a message.
    #[must_use]
    pub fn sent_as(self) -> Option<Self> {
        // In the list of kinds, the sending of each message is directly before its receiving.
        self.name().starts_with("receives-").then(|| Self::ALL[self as usize - 1])
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
        Self::from_name(&name)
            .ok_or_else(|| de::Error::custom(format!("there is no event named {name:?}")))
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An event at a node with its step and slot.
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
    pub const fn is_input(&self) -> bool {
        use EventKind as E;
        matches!(
            self.kind,
            E::Starts
                | E::Connected
                | E::ConnectFailed
                | E::Accepted
                | E::Closed
                | E::ReceivesHello
                | E::ReceivesWelcome
                | E::ReceivesRefused
                | E::ReceivesHeartbeat
                | E::ReceivesPull
                | E::ReceivesPush
                | E::ReceivesPushReply
                | E::ReceivesAcknowledged
                | E::ReceivesVersion
                | E::ReceivesReceived
                | E::ReceivesChosen
                | E::ReceivesRestore
                | E::ReceivesRestored
                | E::ReceivesCapture
                | E::ReceivesCaptured
                | E::ReceivesMissed
                | E::ReceivesFinished
                | E::ReceivesGoodbye
                | E::ReceivesAbort
                | E::Progress
                | E::Computed
                | E::Updated
                | E::Read
                | E::ReadFailed
                | E::Saved
                | E::SaveFailed
                | E::NotRepeated
                | E::Wakes
                | E::AskedToStop
        )
    }

    /// Returns the event of an input.
    #[must_use]
    pub fn of_input(input: &Input) -> Self {
        match input {
            Input::Start => Self::new(EventKind::Starts),
            Input::Network(NetworkEvent::Connected { .. }) => Self::new(EventKind::Connected),
            Input::Network(NetworkEvent::ConnectFailed { .. }) => {
                Self::new(EventKind::ConnectFailed)
            }
            Input::Network(NetworkEvent::Accepted { .. }) => Self::new(EventKind::Accepted),
            Input::Network(NetworkEvent::Received { message, .. }) => {
                Self::of_message(message, false)
            }
            Input::Network(NetworkEvent::Progress { .. }) => Self::new(EventKind::Progress),
            Input::Network(NetworkEvent::Closed { .. }) => Self::new(EventKind::Closed),
            Input::Computed(Done::Gradient { cut: Cut { step, .. }, slot, .. }) => {
                Self::of(EventKind::Computed, *step, *slot)
            }
            Input::Computed(Done::Update { cut: Cut { step, .. }, .. }) => {
                Self::at(EventKind::Updated, *step)
            }
            Input::Stored(StorageEvent::Restored(Ok(restored))) => {
                Self { kind: EventKind::Read, step: Some(restored.snapshot.cut.step), slot: None }
            }
            Input::Stored(StorageEvent::Restored(Err(_))) => Self::new(EventKind::ReadFailed),
            Input::Stored(StorageEvent::Persisted { step, result: Ok(_) }) => {
                Self::at(EventKind::Saved, *step)
            }
            Input::Stored(StorageEvent::Persisted { step, result: Err(_) }) => {
                Self::at(EventKind::SaveFailed, *step)
            }
            Input::Stored(StorageEvent::NotRepeated(why)) => {
                Self::of(EventKind::NotRepeated, why.step, why.slot)
            }
            Input::Wake => Self::new(EventKind::Wakes),
            Input::Stop => Self::new(EventKind::AskedToStop),
        }
    }

    /// Returns the event of an effect; `None` for a report about something that was already an
    /// input.
    #[must_use]
    pub const fn of_effect(effect: &Effect) -> Option<Self> {
        Some(match effect {
            Effect::Connect { .. } => Self::new(EventKind::Connects),
            Effect::Send { message, .. } => Self::of_message(message, true),
            Effect::Close { .. } => Self::new(EventKind::Closes),
            Effect::Compute(Job::Gradient { cut: Cut { step, .. }, slot, .. }) => {
                Self::of(EventKind::Computes, *step, *slot)
            }
            Effect::Compute(Job::Update { cut: Cut { step, .. }, .. }) => {
                Self::at(EventKind::Updates, *step)
            }
            Effect::Restore => Self::new(EventKind::Reads),
            Effect::Persist(_) => Self::new(EventKind::Saves),
            Effect::Record(update) => Self::at(EventKind::Records, update.cut.step),
            Effect::Report(report) => return Self::of_report(report),
            Effect::Halt(unisono_core::protocol::Outcome::Finished) => {
                Self::new(EventKind::Finishes)
            }
            Effect::Halt(unisono_core::protocol::Outcome::Stopped { .. }) => {
                Self::new(EventKind::Stops)
            }
            Effect::Halt(unisono_core::protocol::Outcome::Failed(_)) => Self::new(EventKind::Fails),
            Effect::Halt(unisono_core::protocol::Outcome::Outdated { .. }) => {
                Self::new(EventKind::Outdated)
            }
        })
    }

    const fn of_report(report: &Report) -> Option<Self> {
        Some(match report {
            Report::PeerUp { .. } => Self::new(EventKind::PeerUp),
            Report::PeerDown { .. } => Self::new(EventKind::PeerDown),
            Report::TurnedAway { .. } => Self::new(EventKind::TurnedAway),
            Report::Waiting { .. } => Self::new(EventKind::Waits),
            Report::Dropped { step, slot, verdict, .. } => {
                let kind = match verdict {
                    Some(Verdict::Stale) => EventKind::DropsStale,
                    Some(Verdict::Duplicate) => EventKind::DropsDuplicate,
                    Some(Verdict::Fenced) => EventKind::DropsFenced,
                    None => EventKind::DropsSurplus,
                };
                Self::of(kind, *step, *slot)
            }
            Report::ShardLost { live, .. } => {
                let step = if let Ok(step) = live { Some(*step) } else { None };
                Self { kind: EventKind::ShardLost, step, slot: None }
            }
            Report::Adopted { step, restored: None, .. } => {
                Self { kind: EventKind::Adopts, step: *step, slot: None }
            }
            Report::Adopted { step, restored: Some(_), .. } => {
                Self { kind: EventKind::Restores, step: *step, slot: None }
            }
            Report::Computed { .. }
            | Report::Updated { .. }
            | Report::Saved { .. }
            | Report::SaveFailed { .. } => return None,
        })
    }

    const fn of_message(message: &Message, sends: bool) -> Self {
        use EventKind as E;
        const fn pick(sends: bool, sent: EventKind, received: EventKind) -> EventKind {
            if sends { sent } else { received }
        }
        match message {
            Message::Hello(_) => Self::new(pick(sends, E::SendsHello, E::ReceivesHello)),
            Message::Welcome { .. } => Self::new(pick(sends, E::SendsWelcome, E::ReceivesWelcome)),
            Message::Refused { .. } => Self::new(pick(sends, E::SendsRefused, E::ReceivesRefused)),
            Message::Heartbeat => Self::new(pick(sends, E::SendsHeartbeat, E::ReceivesHeartbeat)),
            Message::Pull { want, .. } => {
                Self::at(pick(sends, E::SendsPull, E::ReceivesPull), want.cut().step)
            }
            Message::Push { cut: Cut { step, .. }, slot, .. } => {
                Self::of(pick(sends, E::SendsPush, E::ReceivesPush), *step, *slot)
            }
            Message::PushReply { cut: Cut { step, .. }, slot, .. } => {
                Self::of(pick(sends, E::SendsPushReply, E::ReceivesPushReply), *step, *slot)
            }
            Message::Version { cut: Cut { step, .. }, .. } => {
                Self::at(pick(sends, E::SendsVersion, E::ReceivesVersion), *step)
            }
            Message::Received { cut: Cut { step, .. }, .. } => {
                Self::at(pick(sends, E::SendsReceived, E::ReceivesReceived), *step)
            }
            Message::Chosen { cut: Cut { step, .. }, .. } => {
                Self::at(pick(sends, E::SendsChosen, E::ReceivesChosen), *step)
            }
            Message::Restore { cut: Cut { step, .. }, .. } => {
                Self::at(pick(sends, E::SendsRestore, E::ReceivesRestore), *step)
            }
            Message::Restored { .. } => {
                Self::new(pick(sends, E::SendsRestored, E::ReceivesRestored))
            }
            Message::Capture { cut: Cut { step: at, .. }, .. } => {
                Self::at(pick(sends, E::SendsCapture, E::ReceivesCapture), *at)
            }
            Message::Captured { cut: Cut { step, .. }, .. } => {
                Self::at(pick(sends, E::SendsCaptured, E::ReceivesCaptured), *step)
            }
            Message::Missed { cut: Cut { step: at, .. }, .. } => {
                Self::at(pick(sends, E::SendsMissed, E::ReceivesMissed), *at)
            }
            Message::Finished { .. } => {
                Self::new(pick(sends, E::SendsFinished, E::ReceivesFinished))
            }
            Message::Acknowledged { .. } => {
                Self::new(pick(sends, E::SendsAcknowledged, E::ReceivesAcknowledged))
            }
            Message::Goodbye => Self::new(pick(sends, E::SendsGoodbye, E::ReceivesGoodbye)),
            Message::Abort(_) => Self::new(pick(sends, E::SendsAbort, E::ReceivesAbort)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_events_are_distinct_and_parse_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.name()), Some(*kind));
        }
    }

    #[test]
    fn every_kind_of_receiving_event_has_a_kind_of_sending_event() {
        for kind in EventKind::ALL {
            let sent = kind.sent_as().map(|sent| sent.name().to_owned());
            let expected = kind.name().strip_prefix("receives-").map(|of| format!("sends-{of}"));
            assert_eq!(sent, expected);
        }
    }
}
