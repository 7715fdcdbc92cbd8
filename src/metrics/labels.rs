//! The labels of metric series. All label types are `Copy`, so that looking up a series allocates
//! no memory.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use unisono_core::ids::TaskId;

/// A label value that names a task, or this task's own storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskOrStorage {
    Task(TaskId),
    /// This task's own disk.
    Storage,
}

impl EncodeLabelValue for TaskOrStorage {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => write!(encoder, "{task}"),
            Self::Storage => encoder.write_str("storage"),
        }
    }
}

/// The label `peer`: the task with which this task has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Peer {
    pub peer: TaskOrStorage,
}

/// The label `kind`: the kind of a message, as named in `docs/protocol.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    pub kind: &'static str,
}

/// The label `why`: the reason why a gradient was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Why {
    pub why: &'static str,
}

/// The labels of a wait. `what` names the awaited thing, and `of` names the task or the storage
/// that must provide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WaitLabels {
    pub what: &'static str,
    pub of: TaskOrStorage,
}

/// The label `version`: the version of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Build {
    pub version: &'static str,
}
