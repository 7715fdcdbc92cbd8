//! The cluster that a scenario file must fit.

use std::time::Duration;

use unisono_core::{Job, TaskId};

use super::key::Known;
use crate::scenario::task_set::TaskSet;

/// The cluster and the run that all sections of a file must fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Parameter servers in the smallest cluster that a seed may draw.
    pub(crate) n_ps: u32,
    /// Workers in the smallest cluster that a seed may draw.
    pub(crate) n_workers: u32,
    /// R of the run without chaos.
    pub(crate) replicas: u32,
    /// R may be below N. Then timing selects the gradients, and every ps has a link with ps 0.
    pub(crate) may_choose: bool,
    /// The run's last version.
    pub(crate) training_steps: u64,
    /// The virtual time at which the run is given up.
    pub(crate) max_virtual_time: Duration,
    /// All tables of scenario files, for the remedies of unknown keys.
    pub(crate) tables: fn() -> Vec<&'static Known>,
}

impl Shape {
    /// A shape that every section fits, for the sections that decide the shape.
    pub(crate) const ANY: Self = Self {
        n_ps: u32::MAX,
        n_workers: u32::MAX,
        replicas: u32::MAX,
        may_choose: true,
        training_steps: u64::MAX,
        max_virtual_time: Duration::MAX,
        tables: Vec::new,
    };

    /// Returns whether any of `a` has a link with any of `b`.
    pub(crate) fn linked(&self, a: TaskSet, b: TaskSet) -> bool {
        self.any_pair(a, b, |a, b| self.calls(a, b) || self.calls(b, a))
    }

    /// Returns whether any of `from` ever calls any of `to`.
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

    /// The first two tasks of each job. All further tasks have the same links as the second one.
    fn some_of(&self, set: TaskSet) -> impl Iterator<Item = TaskId> {
        let ps = (0..self.n_ps).map(TaskId::ps).filter(move |task| set.contains(*task)).take(2);
        let workers = (0..self.n_workers).map(TaskId::worker);
        ps.chain(workers.filter(move |task| set.contains(*task)).take(2))
    }
}
