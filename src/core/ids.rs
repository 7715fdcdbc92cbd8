//! Identifiers: tasks, steps, slots, incarnations, generations, cuts (a generation and a step) and
//! links.
//!
//! Each identifier has its own type, so that the compiler rejects a slot where a step belongs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the two jobs of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Job {
    /// A parameter server, which holds one shard of every variable and applies the updates.
    Ps,
    /// A worker, which computes gradients. Worker 0 is the chief.
    Worker,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ps => "ps",
            Self::Worker => "worker",
        })
    }
}

/// A task: one process of the cluster, numbered as in TensorFlow's `ClusterSpec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The task's job.
    pub job: Job,
    /// The task's number within the job, from 0.
    pub index: u32,
}

impl TaskId {
    /// Worker 0, the chief, which restores the cluster's state, saves checkpoints and records
    /// losses.
    pub const CHIEF: Self = Self::worker(0);
    /// Ps 0, which keeps the global step, issues the tokens, and chooses the slots of an update
    /// when R < N.
    pub const PS_ZERO: Self = Self::ps(0);

    /// Returns the ps with the number `index`.
    #[must_use]
    pub const fn ps(index: u32) -> Self {
        Self { job: Job::Ps, index }
    }

    /// Returns the worker with the number `index`.
    #[must_use]
    pub const fn worker(index: u32) -> Self {
        Self { job: Job::Worker, index }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.job, self.index)
    }
}

/// The error for a text that is not the name of a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a task, such as \"worker 1\"")]
pub struct NoTask(String);

impl FromStr for TaskId {
    type Err = NoTask;

    /// Parses the name of a task in the form that [`fmt::Display`] writes. Accepts no other
    /// spelling.
    fn from_str(name: &str) -> Result<Self, NoTask> {
        let parse = || {
            let (job, index) = name.split_once(' ')?;
            let job = [Job::Ps, Job::Worker].into_iter().find(|known| known.to_string() == job)?;
            let task = Self { job, index: index.parse().ok()? };
            // The integer parser also accepts `worker +1` and `worker 01`, but each task must have
            // exactly one name.
            (task.to_string() == name).then_some(task)
        };
        parse().ok_or_else(|| NoTask(name.to_owned()))
    }
}

/// TensorFlow's `global_step`: the number of updates made so far, which is also the version of the
/// parameters. Update k makes version k + 1 from version k.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Step(pub u64);

impl Step {
    /// Returns the step after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        // No run reaches the largest step, but a faulty peer may send it. The addition must not
        // overflow then.
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of one gradient within a step. The seed, the slot and the step determine the batch of
/// examples from which the gradient is computed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Slot(pub u32);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number that identifies one process of a task. The host chooses a number that is larger than
/// the incarnations of all earlier processes of the task.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A period in which the cluster's state never goes back to an earlier version. A rollback starts a
/// larger generation, and all tasks then ignore messages of the smaller generations.
///
/// Generations are ordered first by the incarnation of the chief that opened them. A later chief
/// therefore opens a larger generation than any earlier chief, even if no task remembers the
/// earlier chief's numbers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation {
    /// The incarnation of the chief that opened the generation.
    pub opener: Incarnation,
    /// The generation's number, as shown in logs. The number is one more than the largest number
    /// that the chief knew when the chief opened the generation.
    pub number: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number.fmt(f)
    }
}

/// A point in the history of the cluster's state: a version in a generation.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Cut {
    /// The generation of the version.
    pub generation: Generation,
    /// The number of the version.
    pub step: Step,
}

impl Cut {
    /// Returns the next version, in the same generation.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { step: self.step.next(), ..self }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} of generation {}", self.step, self.generation)
    }
}

/// A connection between two tasks. Each of the two hosts numbers the link independently. If a task
/// connects again, the new connection is a new link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_displayed_name_of_a_task_parses() {
        for task in [TaskId::ps(0), TaskId::CHIEF, TaskId::worker(4_000_000_000)] {
            assert_eq!(task.to_string().parse(), Ok(task));
        }
        for name in ["", "storage", "worker", "worker ", "worker x", "worker +1", "worker 01"] {
            assert_eq!(name.parse::<TaskId>().ok(), None, "{name:?}");
        }
        assert_eq!("worker 4294967296".parse::<TaskId>().ok(), None, "indices are u32");
        assert_eq!("chief 0".parse::<TaskId>().ok(), None);
    }
}
