//! Reads the names of tasks, and checks that the cluster has these tasks.

use unisono_config::file::{Wrong, nearest};
use unisono_core::{Job, TaskId};

use super::section::Value;
use super::shape::Shape;
use crate::scenario::task_set::TaskSet;

const WORDS: [&str; 6] = ["all", "workers", "ps", "chief", "worker 0", "ps 0"];

/// Reads `"worker 1"`, `"ps 0"` or `"chief"`.
pub(crate) fn task(value: Value<'_>) -> Result<TaskId, Wrong> {
    single(task_set(value)?).ok_or_else(|| value.is_not("one task, such as \"worker 1\""))
}

/// Reads a task, or `"workers"`, `"ps"` or `"all"`.
pub(crate) fn task_set(value: Value<'_>) -> Result<TaskSet, Wrong> {
    let text = value.text("a task such as \"worker 1\", or \"workers\", \"ps\" or \"all\"")?;
    parse(text, value.shape).map_err(|what| value.wrong(what))
}

/// Reads the task that a key of a table names.
pub(crate) fn task_of_key(value: Value<'_>) -> Result<TaskId, Wrong> {
    let set = parse(value.key, value.shape).map_err(|what| Wrong { at: value.at, what })?;
    let what = "one task must be named here, such as \"worker 1\"";
    single(set).ok_or_else(|| value.wrong(what))
}

fn single(set: TaskSet) -> Option<TaskId> {
    if let TaskSet::Task(task) = set { Some(task) } else { None }
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
