//! What a trace tells of one thing that happened to a node, or that it did. No time, no file.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::named_event::{EventKind, NamedEvent};
use unisono_core::ids::{Incarnation, LinkId, Slot, TaskId};

/// One thing that happened to a node, or that it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What, at which step, of which slot.
    #[serde(flatten)]
    pub what: NamedEvent,
    /// All else.
    #[serde(flatten)]
    pub details: Details,
}

/// What there is to be told beside its name; nothing of what does not apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// On which link, as this task numbers its links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkId>,
    /// With whom; of a gradient that is dropped, whose it was.
    #[serde(skip_serializing_if = "Option::is_none", with = "task_name")]
    pub peer: Option<TaskId>,
    /// Of a greeting: which life of its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The generation's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The slots that an update uses, or of which a message speaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Slot>,
    /// The loss of a gradient's batch, as text, so that one that is no number can be told, too.
    #[serde(skip_serializing_if = "Option::is_none", with = "loss_text")]
    pub loss: Option<f32>,
    /// The bytes of tensors in a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// DropReason, or what of it, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Entry {
    /// With nothing but its name.
    #[must_use]
    pub fn of(what: NamedEvent) -> Self {
        Self { what, details: Details::default() }
    }

    /// Whether it only says that somebody lives, or that time has passed.
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

/// Tasks as `worker 1`.
pub(super) mod task_name {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use unisono_core::ids::TaskId;

    pub(in crate::trace) fn serialize<S: Serializer>(
        task: &Option<TaskId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match task {
            Some(task) => serializer.collect_str(task),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::trace) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<TaskId>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        name.parse().map(Some).map_err(de::Error::custom)
    }
}

/// Losses as texts that lose no bit.
mod loss_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use unisono_files::losses::format_loss;

    pub(super) fn serialize<S: Serializer>(
        loss: &Option<f32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match loss {
            Some(loss) => serializer.serialize_str(&format_loss(*loss)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f32>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let loss = text.parse();
        loss.map(Some).map_err(|_| de::Error::custom(format!("{text:?} is not a loss")))
    }
}
