//! The tasks of a cluster by name, and the links between them.

use std::time::Duration;

use unisono_config::RunConfig;
use unisono_config::file::{Wrong, nearest};
use unisono_core::{Job, TaskId};

use super::section::Value;
use super::units::duration_text;
use crate::scenario::{Chaos, Range, SimLimits, TaskSet};

/// The cluster and the run that all sections of a file must fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Parameter servers in the smallest cluster that a seed may draw.
    pub(super) n_ps: u32,
    /// Workers in the smallest cluster that a seed may draw.
    pub(super) n_workers: u32,
    /// R of the run without chaos.
    pub(super) replicas: u32,
    /// R may be below N. Then timing selects the gradients, and every ps has a link with ps 0.
    pub(super) may_choose: bool,
    /// The run's last version.
    pub(super) training_steps: u64,
    /// The virtual time at which the run is given up.
    pub(crate) max_virtual_time: Duration,
}

impl Shape {
    /// A shape that every section fits, for the sections that decide the shape.
    pub(super) const ANY: Self = Self {
        n_ps: u32::MAX,
        n_workers: u32::MAX,
        replicas: u32::MAX,
        may_choose: true,
        training_steps: u64::MAX,
        max_virtual_time: Duration::MAX,
    };

    pub(super) fn new(run: &RunConfig, chaos: Option<&Chaos>, sim: &SimLimits) -> Self {
        let range =
            |drawn: Option<Range<u32>>, fixed| drawn.unwrap_or(Range { min: fixed, max: fixed });
        let n_workers = range(chaos.and_then(|chaos| chaos.workers), run.sync.total_num_replicas);
        let replicas = chaos.and_then(|chaos| chaos.replicas_to_aggregate);
        let replicas = range(replicas, run.sync.replicas_to_aggregate);
        Self {
            n_ps: range(chaos.and_then(|chaos| chaos.ps), run.n_ps).min,
            n_workers: n_workers.min,
            replicas: run.sync.replicas_to_aggregate,
            may_choose: replicas.min < n_workers.max,
            training_steps: run.train.training_steps,
            max_virtual_time: sim.max_virtual_time,
        }
    }

    /// Returns whether any of `a` has a link with any of `b`.
    pub(super) fn linked(&self, a: TaskSet, b: TaskSet) -> bool {
        self.any_pair(a, b, |a, b| self.calls(a, b) || self.calls(b, a))
    }

    /// Returns whether any of `from` ever calls any of `to`.
    pub(super) fn one_calls(&self, from: TaskSet, to: TaskSet) -> bool {
        self.any_pair(from, to, |from, to| self.calls(from, to))
    }

    pub(super) fn has_worker(&self, set: TaskSet) -> bool {
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

const WORDS: [&str; 6] = ["all", "workers", "ps", "chief", "worker 0", "ps 0"];

/// Reads `"worker 1"`, `"ps 0"` or `"chief"`.
pub(super) fn task(value: Value<'_>) -> Result<TaskId, Wrong> {
    single(task_set(value)?).ok_or_else(|| value.is_not("one task, such as \"worker 1\""))
}

/// Reads a task, or `"workers"`, `"ps"` or `"all"`.
pub(super) fn task_set(value: Value<'_>) -> Result<TaskSet, Wrong> {
    let text = value.text("a task such as \"worker 1\", or \"workers\", \"ps\" or \"all\"")?;
    parse(text, value.shape).map_err(|what| value.wrong(what))
}

/// Reads the task that is named by a key.
pub(super) fn task_of_key(value: Value<'_>) -> Result<TaskId, Wrong> {
    let set = parse(value.key, value.shape).map_err(|what| Wrong { at: value.at, what })?;
    let what = "one task must be named here, such as \"worker 1\"";
    single(set).ok_or_else(|| value.wrong(what))
}

fn single(set: TaskSet) -> Option<TaskId> {
    if let TaskSet::Task(task) = set { Some(task) } else { None }
}

/// Checks that a time is before the end of the longest run.
pub(super) fn check_time(value: Value<'_>, time: Duration) -> Result<(), Wrong> {
    if time < value.shape.max_virtual_time {
        return Ok(());
    }
    let end = duration_text(value.shape.max_virtual_time);
    Err(value.wrong(format!("the run is given up at {end}, its max_virtual_time")))
}

fn parse(text: &str, shape: &Shape) -> Result<TaskSet, String> {
    match text {
        "all" => return Ok(TaskSet::All),
        "workers" => return Ok(TaskSet::Job(Job::Worker)),
        "ps" => return Ok(TaskSet::Job(Job::Ps)),
        "chief" => return Ok(TaskSet::Task(TaskId::CHIEF)),
        _ => {}
    }
    let task: TaskId = text.parse().map_err(|_| unknown(text))?;
    let (n_tasks, noun) = match task.job {
        Job::Ps => (shape.n_ps, "ps"),
        Job::Worker if shape.n_workers == 1 => (1, "worker"),
        Job::Worker => (shape.n_workers, "workers"),
    };
    if task.index < n_tasks {
        return Ok(TaskSet::Task(task));
    }
    let last = TaskId { index: n_tasks - 1, ..task };
    Err(format!("there is no {task} in a cluster of {n_tasks} {noun}; the last one is {last}"))
}

fn unknown(text: &str) -> String {
    let hint = nearest(text, WORDS.into_iter()).map_or_else(
        || "write \"worker 1\", \"ps 0\", \"chief\", \"workers\", \"ps\" or \"all\"".to_owned(),
        |word| format!("did you mean \"{word}\"?"),
    );
    format!("there is no task {text:?}; {hint}")
}

/// Returns the name of a set in files.
pub(super) fn set_text(set: TaskSet) -> String {
    match set {
        TaskSet::All => "all".to_owned(),
        TaskSet::Job(Job::Worker) => "workers".to_owned(),
        TaskSet::Job(Job::Ps) => "ps".to_owned(),
        TaskSet::Task(TaskId::CHIEF) => "chief".to_owned(),
        TaskSet::Task(task) => task.to_string(),
    }
}
