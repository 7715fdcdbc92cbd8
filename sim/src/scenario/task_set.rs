//! Sets of tasks, for faults and links.

use unisono_core::{Job, TaskId};

/// A set of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskSet {
    /// `"all"`.
    All,
    /// `"ps"` or `"workers"`.
    Job(Job),
    /// `"worker 1"`; `"chief"` is worker 0.
    Task(TaskId),
}

impl From<TaskId> for TaskSet {
    fn from(task: TaskId) -> Self {
        Self::Task(task)
    }
}

impl From<Job> for TaskSet {
    fn from(job: Job) -> Self {
        Self::Job(job)
    }
}

impl TaskSet {
    /// Returns whether a task is in the set.
    pub(crate) fn contains(&self, task: TaskId) -> bool {
        match *self {
            Self::All => true,
            Self::Job(job) => task.job == job,
            Self::Task(one) => task == one,
        }
    }
    /// Returns the name in scenario files.
    pub(super) fn text(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Job(Job::Worker) => "workers".to_owned(),
            Self::Job(Job::Ps) => "ps".to_owned(),
            Self::Task(TaskId::CHIEF) => "chief".to_owned(),
            Self::Task(task) => task.to_string(),
        }
    }
}
