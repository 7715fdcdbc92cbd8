//! One line of a trace file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::entry::{Entry, task_name};
use unisono_core::ids::{Incarnation, Step, TaskId};
use unisono_core::protocol::ClusterConfig;

/// Version of the format. The header of each incarnation contains it.
pub const FORMAT: u32 = 1;

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// An incarnation of the task starts.
    Life(LifeHeader),
    /// The task handled an input.
    Event(Event),
    /// The trace ends here although the incarnation continues. The text is the reason, as a message
    /// for the user.
    Cut(String),
}

/// An incarnation of a task, with the settings that apply to the following lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeHeader {
    /// Version of the format, [`FORMAT`] for this program.
    pub format: u32,
    /// Task that writes the trace.
    #[serde(with = "task_name")]
    pub task: TaskId,
    /// Incarnation of the task.
    pub incarnation: Incarnation,
    /// Wall time since 1970 at which the task's own clock showed zero. The times of events are
    /// measured with the task's own clock.
    #[serde(rename = "origin_ns", with = "nanos")]
    pub origin: Duration,
    /// Number of parameter servers in the cluster.
    pub n_ps: u32,
    /// R, the number of gradients that an update uses.
    pub replicas_to_aggregate: u32,
    /// N, the number of workers.
    pub total_num_replicas: u32,
    /// Number of updates of the whole run.
    pub training_steps: Step,
}

impl LifeHeader {
    /// Creates the header of an incarnation in this cluster.
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

/// An input of a node, with the node's effects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Time on the task's own clock.
    #[serde(rename = "at_ns", with = "nanos")]
    pub at: Duration,
    /// Input of the node.
    #[serde(flatten)]
    pub input: Entry,
    /// Effects of the node, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub does: Vec<Entry>,
}

/// Serialises durations as whole nanoseconds.
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

/// The trace of one incarnation of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedLife {
    /// Task, incarnation and cluster.
    pub header: LifeHeader,
    /// Events, in order.
    pub events: Vec<Event>,
    /// Reason why the trace ends before the incarnation ends; `None` if the trace is complete, or
    /// the reason is unknown.
    pub cut: Option<String>,
}
