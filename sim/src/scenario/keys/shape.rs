//! The cluster and the run that a scenario file describes. The sections of the file are checked
//! against this cluster and this run.

use std::time::Duration;

use unisono_core::{Job, TaskId};

use super::key::Known;
use crate::scenario::task_set::TaskSet;

/// The cluster and the run to which all sections of a scenario file must fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Number of parameter servers in the smallest cluster that a seed may draw.
    pub(crate) n_ps: u32,
    /// Number of workers in the smallest cluster that a seed may draw.
    pub(crate) n_workers: u32,
    /// The number of gradients per update (R) without the draws of `[chaos]`.
    pub(crate) replicas: u32,
    /// Whether R may be below N. If R is below N, timing selects the gradients, and every other ps
    /// has a link with ps 0.
    pub(crate) may_choose: bool,
    /// The last version of the run.
    pub(crate) training_steps: u64,
    /// The virtual time at which the run is given up.
    pub(crate) max_virtual_time: Duration,
    /// A function that returns all tables of scenario files, for error messages about unknown keys.
    pub(crate) tables: fn() -> Vec<&'static Known>,
}

impl Shape {
    /// A shape that every section fits, for the sections that are read before the cluster is known.
    pub(crate) const ANY: Self = Self {
        n_ps: u32::MAX,
        n_workers: u32::MAX,
        replicas: u32::MAX,
        may_choose: true,
        training_steps: u64::MAX,
        max_virtual_time: Duration::MAX,
        tables: Vec::new,
    };

    /// Returns whether a task in `a` has a link with a task in `b`.
    pub(crate) fn linked(&self, a: TaskSet, b: TaskSet) -> bool {
        self.any_pair(a, b, |a, b| self.calls(a, b) || self.calls(b, a))
    }

    /// Returns whether a task in `from` ever calls a task in `to`.
    pub(crate) fn one_calls(&self, from: TaskSet, to: TaskSet) -> bool {
        self.any_pair(from, to, |from, to| self.calls(from, to))
    }

    pub(crate) fn has_worker(&self, set: TaskSet) -> bool {
        self.some_of(set).any(|task| task.job == Job::Worker)
    }

    fn calls(&self, from: TaskId, to: TaskId) -> bool {
        match (from.job, to.job) {
            (Job::Worker, Job::Ps) => true,
            (Job::Ps, Job::Ps) => self.may_choose && from != to && to == TaskId::PS_ZERO,
            (_, Job::Worker) => false,
        }
    }

    fn any_pair(&self, a: TaskSet, b: TaskSet, holds: impl Fn(TaskId, TaskId) -> bool) -> bool {
        self.some_of(a).any(|a| self.some_of(b).any(|b| holds(a, b)))
    }

    /// Returns the first two tasks of each job in `set`. All further tasks have the same links as
    /// the second task, so these tasks need no check.
    fn some_of(&self, set: TaskSet) -> impl Iterator<Item = TaskId> {
        let ps = (0..self.n_ps).map(TaskId::ps).filter(move |task| set.contains(*task)).take(2);
        let workers = (0..self.n_workers).map(TaskId::worker);
        ps.chain(workers.filter(move |task| set.contains(*task)).take(2))
    }
}
