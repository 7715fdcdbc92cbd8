//! One entry of a trace: an input or effect of a node, without its time. This module reads and
//! writes no files.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::named_event::{EventKind, NamedEvent};
use crate::ledger::Loss;
use unisono_core::ids::{Incarnation, LinkId, Slot, TaskId};

/// An input or an effect of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Kind, step and slot of the input or effect.
    #[serde(flatten)]
    pub what: NamedEvent,
    /// All other facts about the input or effect.
    #[serde(flatten)]
    pub details: Details,
}

/// Facts about an event besides its kind, step and slot. Fields that do not apply are empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Link of the event, in this task's own numbering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkId>,
    /// Peer of the link. For a dropped gradient, the peer is the worker that computed the gradient.
    #[serde(skip_serializing_if = "Option::is_none", with = "task_name")]
    pub peer: Option<TaskId>,
    /// Incarnation of the sender of a greeting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// Number of the generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Slots that an update uses, or that a message lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Slot>,
    /// Loss of a gradient's batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// Size of a message's tensors in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Reason or other description, for the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Entry {
    /// Returns an entry without details.
    #[must_use]
    pub fn of(what: NamedEvent) -> Self {
        Self { what, details: Details::default() }
    }

    /// Returns whether the entry is only a heartbeat, a received part of a long message, or a
    /// timer.
    #[must_use]
    pub const fn is_noise(&self) -> bool {
        use EventKind as E;
        let kind = self.what.kind;
        matches!(kind, E::SendsHeartbeat | E::ReceivesHeartbeat | E::Progress | E::Wakes)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what: NamedEvent { kind, step, slot }, details } = self;
        write!(f, "{kind}")?;
        if let Some(step) = step {
            write!(f, ", step {step}")?;
        }
        if let Some(slot) = slot {
            write!(f, ", slot {slot}")?;
        }
        match (details.peer, kind.sent_as()) {
            (Some(peer), Some(_)) => write!(f, " from {peer}")?,
            (Some(peer), None) if kind.name().starts_with("sends-") => write!(f, " to {peer}")?,
            (Some(peer), None) => write!(f, ", {peer}")?,
            (None, _) => {}
        }
        match &details.note {
            Some(note) => write!(f, ": {note}"),
            None => Ok(()),
        }
    }
}

/// Serialises a task, or a task that may be missing, as text such as `worker 1`.
pub(super) mod task_name {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use unisono_core::ids::TaskId;

    pub(in crate::trace) fn serialize<T: Copy + Into<Option<TaskId>>, S: Serializer>(
        task: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match (*task).into() {
            Some(task) => serializer.collect_str(&task),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::trace) fn deserialize<'de, T: From<TaskId>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let task: Result<TaskId, _> = String::deserialize(deserializer)?.parse();
        task.map(T::from).map_err(de::Error::custom)
    }
}
