//! The name of one process of a task.

use std::fmt;

use unisono_core::{Incarnation, TaskId};

/// Identifies a process of a task: one node, from its start until the node halts or is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LifeId {
    /// The task.
    pub task: TaskId,
    /// The number of the process among all processes of the task, counted from 1.
    pub number: u64,
    /// The incarnation of the node. The incarnation does not identify a process, because a process
    /// that starts after a clock was set back may have a smaller or equal incarnation.
    pub incarnation: Incarnation,
}

impl fmt::Display for LifeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => write!(f, "{}", self.task),
            life => write!(f, "{} (life {life})", self.task),
        }
    }
}
