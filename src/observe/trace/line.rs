//! One line of a trace file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entry::{Entry, task_name};
use unisono_core::ids::{Incarnation, Step, TaskId};
use unisono_core::protocol::ClusterConfig;

/// The version of the format, which every life's first line says.
pub const FORMAT: u32 = 1;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A life of the task begins.
    Life(LifeHeader),
    /// The task took an input.
    Event(Event),
    /// The trace ends here, though the life goes on: why, for a person.
    Cut(String),
}

/// A life of a task: all that the lines after it are to be read with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeHeader {
    /// [`FORMAT`] of who wrote it.
    pub format: u32,
    /// Whose.
    #[serde(with = "task")]
    pub task: TaskId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// What the machine's wall clock said when the task's own clock, which `at` of events is of,
    /// was at zero: since 1970.
    #[serde(rename = "origin_ns", with = "nanos")]
    pub origin: Duration,
    /// Parameter servers of the cluster.
    pub n_ps: u32,
    /// R.
    pub replicas_to_aggregate: u32,
    /// N.
    pub total_num_replicas: u32,
    /// Updates to make.
    pub training_steps: Step,
}

impl LifeHeader {
    /// Of a life of a task in this cluster.
    #[must_use]
    pub const fn new(
        task: TaskId,
        incarnation: Incarnation,
        origin: Duration,
        cluster: &ClusterConfig,
    ) -> Self {
        Self {
            format: FORMAT,
            task,
            incarnation,
            origin,
            n_ps: cluster.n_ps,
            replicas_to_aggregate: cluster.sync.replicas_to_aggregate,
            total_num_replicas: cluster.sync.total_num_replicas,
            training_steps: cluster.training_steps,
        }
    }
}

/// A node took an input, and did something about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, on the task's own clock.
    #[serde(rename = "at_ns", with = "nanos")]
    pub at: Duration,
    /// The input.
    #[serde(flatten)]
    pub input: Entry,
    /// What the node did, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub does: Vec<Entry>,
}

/// Durations as whole nanoseconds.
mod nanos {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}

/// A task that is always there.
mod task {
    use serde::{Deserializer, Serializer, de};

    use super::task_name;
    use unisono_core::ids::TaskId;

    pub(super) fn serialize<S: Serializer>(task: &TaskId, to: S) -> Result<S::Ok, S::Error> {
        task_name::serialize(&Some(*task), to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TaskId, D::Error> {
        task_name::deserialize(from)?.ok_or_else(|| de::Error::custom("a life is of a task"))
    }
}

/// A life of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedLife {
    /// Whose, and what its cluster is.
    pub header: LifeHeader,
    /// In their order.
    pub events: Vec<Event>,
    /// DropReason the trace ends before the life, if it was told.
    pub cut: Option<String>,
}
