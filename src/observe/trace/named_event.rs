//! What happens to a node, and what it does, by name: what traces tell of, faults of the simulator
//! wait for, and its scenarios expect.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{
    Done, Effect, Input, Job, Message, NetworkEvent, Report, StorageEvent, Verdict,
};

macro_rules! event_kinds {
    ($( $(#[doc = $doc:literal])* $variant:ident = $name:literal, )*) => {
        /// The kind of an event. Its name says what the node does, or what happens to it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum EventKind { $( $(#[doc = $doc])* $variant, )* }

        impl EventKind {
            /// All of them, in order.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];

            /// Its name in scenario files and traces.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// What it means, for a person.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),*), )* }
            }
        }
    };
}

event_kinds! {
    /// A life begins.
    Starts = "starts",
    /// It calls another task.
    Connects = "connects",
    /// Its call was answered.
    Connected = "connected",
    /// Its call was not answered.
    ConnectFailed = "connect-failed",
    /// Somebody called.
    Accepted = "accepted",
    /// It closes a link.
    Closes = "closes",
    /// The other end of a link closed, or the link broke.
    Closed = "closed",
    /// It greets a task that it has called.
    SendsHello = "sends-hello",
    /// A caller says who it is.
    ReceivesHello = "receives-hello",
    /// It lets a caller in.
    SendsWelcome = "sends-welcome",
    /// It was let in.
    ReceivesWelcome = "receives-welcome",
    /// It turns a caller away.
    SendsRefused = "sends-refused",
    /// It was turned away.
    ReceivesRefused = "receives-refused",
    /// It says that it lives.
    SendsHeartbeat = "sends-heartbeat",
    /// A peer says that it lives.
    ReceivesHeartbeat = "receives-heartbeat",
    /// A worker asks for a version.
    SendsPull = "sends-pull",
    /// A ps is asked for a version.
    ReceivesPull = "receives-pull",
    /// A worker sends a shard's part of a gradient.
    SendsPush = "sends-push",
    /// A ps gets a gradient.
    ReceivesPush = "receives-push",
    /// A ps says that it does not use a gradient.
    SendsPushReply = "sends-push-reply",
    /// A worker hears that a gradient is not used.
    ReceivesPushReply = "receives-push-reply",
    /// A ps says that it has judged pushes.
    SendsAcknowledged = "sends-acknowledged",
    /// A worker hears that its pushes are judged.
    ReceivesAcknowledged = "receives-acknowledged",
    /// A ps sends a version.
    SendsVersion = "sends-version",
    /// A worker gets one shard's version.
    ReceivesVersion = "receives-version",
    /// A ps tells ps 0 which slots it holds.
    SendsReceived = "sends-received",
    /// Ps 0 hears which slots a ps holds.
    ReceivesReceived = "receives-received",
    /// Ps 0 tells a ps which slots an update uses.
    SendsChosen = "sends-chosen",
    /// A ps hears which slots an update uses.
    ReceivesChosen = "receives-chosen",
    /// The chief sends a ps its state.
    SendsRestore = "sends-restore",
    /// A ps gets its state.
    ReceivesRestore = "receives-restore",
    /// A ps has its state in place.
    SendsRestored = "sends-restored",
    /// The chief hears that a ps has its state.
    ReceivesRestored = "receives-restored",
    /// The chief asks a ps for its state.
    SendsCapture = "sends-capture",
    /// A ps is asked for its state.
    ReceivesCapture = "receives-capture",
    /// A ps sends its state.
    SendsCaptured = "sends-captured",
    /// The chief gets the state of a ps.
    ReceivesCaptured = "receives-captured",
    /// A ps is past the version that is to be captured.
    SendsMissed = "sends-missed",
    /// The chief hears that a ps is past a version.
    ReceivesMissed = "receives-missed",
    /// It says that the final checkpoint is durable.
    SendsFinished = "sends-finished",
    /// It hears that the final checkpoint is durable.
    ReceivesFinished = "receives-finished",
    /// A worker leaves.
    SendsGoodbye = "sends-goodbye",
    /// A ps hears that a worker leaves.
    ReceivesGoodbye = "receives-goodbye",
    /// It says that the run cannot go on.
    SendsAbort = "sends-abort",
    /// It hears that the run cannot go on.
    ReceivesAbort = "receives-abort",
    /// Bytes of a long message are coming in.
    Progress = "progress",
    /// A worker begins to compute a gradient.
    Computes = "computes",
    /// A gradient is computed.
    Computed = "computed",
    /// A ps begins to compute an update.
    Updates = "updates",
    /// An update is computed: the shard is at the next version.
    Updated = "updated",
    /// The chief asks for the newest checkpoint.
    Reads = "reads",
    /// The newest checkpoint, or the initial values, were read.
    Read = "read",
    /// No checkpoint could be read.
    ReadFailed = "read-failed",
    /// The chief has an update's losses written.
    Records = "records",
    /// The chief has a checkpoint written.
    Saves = "saves",
    /// A checkpoint is durable.
    Saved = "saved",
    /// A checkpoint could not be written.
    SaveFailed = "save-failed",
    /// An update that was made a second time is another.
    NotRepeated = "not-repeated",
    /// Its deadline came.
    Wakes = "wakes",
    /// It is asked to stop.
    AskedToStop = "asked-to-stop",
    /// A session with a peer is up.
    PeerUp = "peer-up",
    /// A session with a peer ended.
    PeerDown = "peer-down",
    /// A caller was turned away.
    TurnedAway = "turned-away",
    /// It has waited longer than the limit, and says so.
    Waits = "waits",
    /// A ps drops a gradient of an older version.
    DropsStale = "drops-stale",
    /// A ps drops the second copy of a gradient.
    DropsDuplicate = "drops-duplicate",
    /// A ps drops a gradient of an older generation.
    DropsFenced = "drops-fenced",
    /// A ps drops a gradient that is not among the first R.
    DropsSurplus = "drops-surplus",
    /// The chief finds a ps without its shard; of the version that it holds itself, if all go on
    /// from there.
    ShardLost = "shard-lost",
    /// The chief takes up the state that it finds.
    Adopts = "adopts",
    /// The chief has restored all shards, in a new generation.
    Restores = "restores",
    /// It halts: finished.
    Finishes = "finishes",
    /// It halts: asked to stop.
    Stops = "stops",
    /// It halts: it cannot go on.
    Fails = "fails",
    /// It halts: it is older than a life that a peer knows, and its process raises its incarnation.
    Outdated = "outdated",
}

impl EventKind {
    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// What the sender did, if this is that a message came.
    #[must_use]
    pub fn sent_as(self) -> Option<Self> {
        // Each kind of message is sent and received, in this order.
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
            .ok_or_else(|| de::Error::custom(format!("no event is called {name:?}")))
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An event at a node, in so far as it can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedEvent {
    /// What.
    #[serde(rename = "what")]
    pub kind: EventKind,
    /// At which step, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Of which slot, if it has one.
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

    /// Whether it happens to a node; otherwise the node does it.
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

    /// What happens to a node.
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
            Input::Computed(Done::Gradient { step, slot, .. }) => {
                Self::of(EventKind::Computed, *step, *slot)
            }
            Input::Computed(Done::Update { step, .. }) => Self::at(EventKind::Updated, *step),
            Input::Stored(StorageEvent::Restored(Ok(restored))) => {
                Self { kind: EventKind::Read, step: Some(restored.snapshot.step), slot: None }
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

    /// What a node does; `None` for reports of what was an input.
    #[must_use]
    pub const fn of_effect(effect: &Effect) -> Option<Self> {
        Some(match effect {
            Effect::Connect { .. } => Self::new(EventKind::Connects),
            Effect::Send { message, .. } => Self::of_message(message, true),
            Effect::Close { .. } => Self::new(EventKind::Closes),
            Effect::Compute(Job::Gradient { step, slot, .. }) => {
                Self::of(EventKind::Computes, *step, *slot)
            }
            Effect::Compute(Job::Update { step, .. }) => Self::at(EventKind::Updates, *step),
            Effect::Restore => Self::new(EventKind::Reads),
            Effect::Persist(_) => Self::new(EventKind::Saves),
            Effect::Record(update) => Self::at(EventKind::Records, update.step),
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
            Message::Push { step, slot, .. } => {
                Self::of(pick(sends, E::SendsPush, E::ReceivesPush), *step, *slot)
            }
            Message::PushReply { step, slot, .. } => {
                Self::of(pick(sends, E::SendsPushReply, E::ReceivesPushReply), *step, *slot)
            }
            Message::Version { step, .. } => {
                Self::at(pick(sends, E::SendsVersion, E::ReceivesVersion), *step)
            }
            Message::Received { step, .. } => {
                Self::at(pick(sends, E::SendsReceived, E::ReceivesReceived), *step)
            }
            Message::Chosen { step, .. } => {
                Self::at(pick(sends, E::SendsChosen, E::ReceivesChosen), *step)
            }
            Message::Restore { step, .. } => {
                Self::at(pick(sends, E::SendsRestore, E::ReceivesRestore), *step)
            }
            Message::Restored { .. } => {
                Self::new(pick(sends, E::SendsRestored, E::ReceivesRestored))
            }
            Message::Capture { at, .. } => {
                Self::at(pick(sends, E::SendsCapture, E::ReceivesCapture), *at)
            }
            Message::Captured { step, .. } => {
                Self::at(pick(sends, E::SendsCaptured, E::ReceivesCaptured), *step)
            }
            Message::Missed { at, .. } => {
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
    fn names_are_distinct_and_read_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.name()), Some(*kind));
        }
    }

    #[test]
    fn whatever_is_received_was_sent_as_its_counterpart() {
        for kind in EventKind::ALL {
            let sent = kind.sent_as().map(|sent| sent.name().to_owned());
            let expected = kind.name().strip_prefix("receives-").map(|of| format!("sends-{of}"));
            assert_eq!(sent, expected);
        }
    }
}
