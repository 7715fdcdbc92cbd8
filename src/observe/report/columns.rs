//! The parts of a [`Document`](super::Document), which the HTML page reads. Most parts are parallel
//! lists of numbers.
//!
//! Times are whole nanoseconds since the start of the run. A missing time, step, slot or task is
//! −1. Tasks, states and kinds of messages are indices into the lists of their names.

use serde::{Deserialize, Serialize};
use unisono_core::ids::Step;

use crate::ledger::DropReason;

/// A name and its value, such as a setting of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Name, as the page shows it.
    pub name: String,
    /// Value with its unit, as the page shows it.
    pub value: String,
}

/// The lane of one task, as consecutive spans of time. All lists except `files` have one entry for
/// each span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneColumns {
    /// Task, as an index into `tasks`.
    pub task: i64,
    /// Begin of the first span, in ns since the start of the run.
    pub begin: i64,
    /// Length of each span, in ns.
    pub length: Vec<i64>,
    /// State of the task in each span, as an index into `states`.
    pub state: Vec<u8>,
    /// Step of each span; −1 if the span belongs to no step.
    pub step: Vec<i64>,
    /// Slot of each span; −1 if the span belongs to no slot.
    pub slot: Vec<i64>,
    /// Peer of each span, as an index into `tasks`; −1 if the span has no peer. The peer is the
    /// receiver of a message in flight, or the task whose message ended a wait.
    pub peer: Vec<i64>,
    /// Checkpoints that the task read or wrote. Each entry is the begin in ns since the start of
    /// the run, the length in ns, and the step. The step is −1 if it is not known.
    pub files: Vec<(i64, i64, i64)>,
}

/// Messages with tensors, ascending by send time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageColumns {
    /// Sender, as an index into `tasks`.
    pub from: Vec<i64>,
    /// Send time, in ns since the start of the run.
    pub to: Vec<i64>,
    /// Send time, in ns since the start.
    pub sent: Vec<i64>,
    /// Time from sending to receiving, in ns.
    pub took: Vec<i64>,
}

/// The critical path, as consecutive segments from the start of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathColumns {
    /// Task for which the run waited in each segment, as an index into `tasks`.
    pub task: Vec<i64>,
    /// Length of the segment, in ns.
    pub length: Vec<i64>,
}

/// The time for which the run waited for one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Task, as an index into `tasks`.
    pub task: i64,
    /// Time for which the task is on the critical path, in ns, with one entry for each state in
    /// `states`.
    pub by_state: Vec<i64>,
    /// Number of updates for which the gradient of this task arrived last.
    pub n_last: u64,
    /// Sum of the times between the arrivals of the last two gradients, in ns, over the updates
    /// that `n_last` counts.
    pub margin: i64,
}

/// Updates, ascending by step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateColumns {
    /// Step of the update.
    pub step: Vec<u64>,
    /// Time at which the last shard completed the update, in ns since the start of the run; 0
    /// without a trace.
    pub at: Vec<i64>,
    /// Worker whose gradient arrived last, as an index into `tasks`; −1 if it is not known.
    pub last: Vec<i64>,
    /// Time between the arrivals of the last two gradients of the update, in ns.
    pub margin: Vec<i64>,
    /// Number of times that the update was computed. The number is larger than 1 after a rollback.
    pub times: Vec<u32>,
    /// Slots that the update used, ascending.
    pub slots: Vec<Vec<u32>>,
    /// Worker that computed each slot in `slots`, as an index into `tasks`; −1 if it is not known.
    pub workers: Vec<Vec<i64>>,
}

/// A gradient that arrived and was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRow {
    /// Step of the gradient.
    pub step: u64,
    /// Slot of the gradient.
    pub slot: u32,
    /// Worker that computed the gradient, as an index into `tasks`; −1 if it is not known.
    pub worker: i64,
    /// Parameter server that dropped the gradient, as an index into `tasks`.
    pub ps: i64,
    /// Reason why the gradient was not used.
    pub why: DropReason,
}

/// A curve by step, ascending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve<T> {
    /// Step of each point.
    pub step: Vec<u64>,
    /// Value of each point.
    pub value: Vec<T>,
}

impl<T> Extend<(Step, T)> for Curve<T> {
    fn extend<I: IntoIterator<Item = (Step, T)>>(&mut self, points: I) {
        for (step, value) in points {
            self.step.push(step.0);
            self.value.push(value);
        }
    }
}

/// A notable event, such as a restart or an injected fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRow {
    /// Begin, in ns since the start of the run.
    pub at: i64,
    /// End, in ns since the start of the run; −1 for an event without length.
    pub until: i64,
    /// Step that the run had reached at the time of the event; −1 before the first version.
    pub step: i64,
    /// Task of the event, as an index into `tasks`; −1 if the event belongs to no single task.
    pub task: i64,
    /// Kind, such as `restart`, `lost-link` or `failure`.
    pub kind: String,
    /// Description of the event: one sentence.
    pub text: String,
}

/// A reason why the run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRow {
    /// Description of the failure: one sentence.
    pub text: String,
    /// Time of the failure, in ns since the start of the run; −1 if no event caused the failure.
    pub at: i64,
}
