//! The name of one process of a task.

use std::fmt;

use unisono_core::{Incarnation, TaskId};

/// A process of a task: one node, from its start until it halts or is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LifeId {
    /// The task.
    pub task: TaskId,
    /// The number of the process among the processes of the task, from 1.
    pub number: u64,
    /// The incarnation of the node. It does not identify a process: after a clock was set back, it may
    /// be smaller than the incarnation of an earlier process, or equal.
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
