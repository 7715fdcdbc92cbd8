//! The names of things: tasks, steps, slots, lives.
//!
//! Every number that crosses a function has a type of its own, so that a slot is never a step.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the two jobs of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Job {
    /// A parameter server: holds one shard of every variable and applies the updates.
    Ps,
    /// A worker: computes gradients. Worker 0 is the chief.
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

/// A task: one process of the cluster, as `ClusterSpec` numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The job it belongs to.
    pub job: Job,
    /// Its number within the job, from 0.
    pub index: u32,
}

impl TaskId {
    /// Worker 0: starts the cluster's state, saves checkpoints, records losses.
    pub const CHIEF: Self = Self::worker(0);
    /// Ps 0: keeps the global step, issues the tokens, chooses the slots when R < N.
    pub const PS_ZERO: Self = Self::ps(0);

    /// Ps number `index`.
    #[must_use]
    pub const fn ps(index: u32) -> Self {
        Self { job: Job::Ps, index }
    }

    /// Worker number `index`.
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

/// A text is not the name of a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no task, such as \"worker 1\"")]
pub struct NoTask(String);

impl FromStr for TaskId {
    type Err = NoTask;

    /// Parses the name that [`fmt::Display`] writes, and no other spelling of it.
    fn from_str(name: &str) -> Result<Self, NoTask> {
        let parse = || {
            let (job, index) = name.split_once(' ')?;
            let job = [Job::Ps, Job::Worker].into_iter().find(|known| known.to_string() == job)?;
            let task = Self { job, index: index.parse().ok()? };
            // `worker +1` and `worker 01` are no names.
            (task.to_string() == name).then_some(task)
        };
        parse().ok_or_else(|| NoTask(name.to_owned()))
    }
}

/// `global_step`: the number of updates made, and so the version of the parameters.
/// Update k makes version k + 1 out of version k.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Step(pub u64);

impl Step {
    /// The step after this one. No run gets to the last one, but a peer may speak of it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One unit of work in a step: the gradient of batch(seed, slot, step) at that step's version.
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

/// One life of a task. A restart has a larger one; the host supplies it.
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

/// One life of the cluster's state. A rollback starts a larger one, and fences the old.
///
/// Its opener comes first: what a later chief opens is larger than anything that an earlier one
/// did, even if nobody is left who remembers the earlier one's numbers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation {
    /// The incarnation of the chief that opened it.
    pub opener: Incarnation,
    /// Counts the lives of the state, for people: one more than any that the opener knew of.
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
    /// The generation.
    pub generation: Generation,
    /// The version.
    pub step: Step,
}

impl Cut {
    /// The version after this one, in the same generation.
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

/// One connection between two tasks, as this end's host numbers it.
/// A task that connects again is on another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_task_names_are_parsed() {
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
