//! Reads `TF_CONFIG`, an environment variable that contains JSON. Cluster managers such as Kubeflow
//! and Vertex AI use this variable to give each task of a TensorFlow cluster its number and the
//! addresses of the other tasks.
//!
//! Only the keys that this program needs are read. Unknown keys are ignored, because they are meant
//! for other programs.

mod sparse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::sparse::Template;
use super::hosts::{HostList, HostPort};
use crate::hosts_error::HostsError;
use crate::values::digits;
use unisono_core::ids::{Job, TaskId};
use unisono_core::train_config::ClusterSize;

/// The content of `TF_CONFIG`. Any part may be missing, because flags can replace the missing part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TfConfig {
    ps: Addresses,
    /// The chief's address, from the key `chief` or from the older key `master`.
    chief: Option<HostPort>,
    workers: Addresses,
    /// Whether `TF_CONFIG` lists the workers as a map. A map may omit some workers.
    has_worker_map: bool,
    /// Whether `TF_CONFIG` has the key `sparseCluster` instead of `cluster`. A sparse cluster lists
    /// only this task and the tasks to which this task connects.
    is_sparse: bool,
    task: Option<TfTask>,
}

/// The addresses of a job's tasks, by task index.
type Addresses = BTreeMap<u32, HostPort>;

/// The value of the key `task`: the type and the index of this task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TfTask {
    Ps(u32),
    Chief,
    Worker(u32),
    Evaluator,
}

/// The role that `TF_CONFIG` gives this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A task of the cluster.
    Task(TaskId),
    /// A process that evaluates checkpoints and does not train.
    Evaluator,
}

/// The error for a `TF_CONFIG` that cannot be used. The text contains the position in `TF_CONFIG`,
/// the reason and a remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TF_CONFIG{0}")]
pub struct TfConfigError(String);

impl TfConfig {
    /// Parses the value of the environment variable `TF_CONFIG`.
    ///
    /// # Errors
    /// Returns an error if the text is not JSON, or if a key that this program needs has an
    /// unusable value.
    pub fn parse(text: &str) -> Result<Self, TfConfigError> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            TfConfigError(format!(" is not JSON: {error}; its value is {}", shown(text)))
        })?;
        let all = object("it", &value)?;
        let (key, is_sparse) = match (all.get("cluster"), all.get("sparseCluster")) {
            (None | Some(Value::Null), Some(_)) => ("sparseCluster", true),
            _ => ("cluster", false),
        };
        let task = all.get("task").filter(|task| !task.is_null()).map(task).transpose()?.flatten();
        let config = Self { is_sparse, task, ..Self::default() };
        match all.get(key).filter(|cluster| !cluster.is_null()) {
            Some(cluster) => config.with_cluster(key, object(key, cluster)?),
            None => Ok(config),
        }
    }

    fn with_cluster(self, key: &str, jobs: &Map<String, Value>) -> Result<Self, TfConfigError> {
        let job =
            |name: &'static str| match jobs.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)) {
                Some((_, value)) => addresses(&format!("{key}.{name}"), value),
                None => Ok(Addresses::new()),
            };
        let one = |key, hosts: Addresses| match hosts.len() {
            0 | 1 => Ok(hosts.into_values().next()),
            n => Err(TfConfigError(format!(
                ": cluster.{key} has {n} tasks, but a cluster has one chief: name one"
            ))),
        };
        let chief = match (one("chief", job("chief")?)?, one("master", job("master")?)?) {
            (Some(_), Some(_)) => {
                let why = ": cluster has both chief and master, which are one task: leave one out";
                return Err(TfConfigError(why.to_owned()));
            }
            (chief, master) => chief.or(master),
        };
        let (mut ps, workers) = (job("ps")?, job("worker")?);
        if let (true, Some(TfTask::Ps(index)), 1) = (self.is_sparse, self.task, ps.len()) {
            // In a sparse cluster, a ps gets a list that contains only its own address. The task's
            // index is then the number of that address.
            ps = ps.into_values().map(|own| (index, own)).collect();
        }
        let has_worker_map = jobs
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("worker") && value.is_object());
        Ok(Self { ps, chief, workers, has_worker_map, ..self })
    }

    /// Returns whether `TF_CONFIG` has a `sparseCluster`, which lists only this task and the tasks
    /// to which this task connects.
    #[must_use]
    pub const fn is_sparse(&self) -> bool {
        self.is_sparse
    }

    /// Returns the number of chiefs: 1 if the cluster has a chief, and 0 otherwise. The chief is
    /// worker 0 of this program, but `TF_CONFIG` numbers the chief separately from the workers.
    #[must_use]
    pub fn n_chiefs(&self) -> u32 {
        u32::from(self.chief.is_some())
    }

    /// Returns the role of this process, or `None` if `TF_CONFIG` gives no role. The chief becomes
    /// worker 0. If the cluster has a chief, worker i of `TF_CONFIG` becomes worker i + 1.
    ///
    /// # Errors
    /// Returns an error if `TF_CONFIG` makes this process the chief, but lists no address of a
    /// chief.
    pub fn role(&self) -> Result<Option<Role>, TfConfigError> {
        Ok(Some(match self.task {
            None => return Ok(None),
            Some(TfTask::Evaluator) => Role::Evaluator,
            Some(TfTask::Ps(index)) => Role::Task(TaskId::ps(index)),
            Some(TfTask::Worker(index)) => {
                Role::Task(TaskId::worker(index.saturating_add(self.n_chiefs())))
            }
            Some(TfTask::Chief) if self.chief.is_some() => Role::Task(TaskId::CHIEF),
            Some(TfTask::Chief) => {
                let why = ": task.type is chief, but cluster has neither chief nor master: add its \
                           address";
                return Err(TfConfigError(why.to_owned()));
            }
        }))
    }

    /// Returns the addresses of a job's tasks, or `None` if `TF_CONFIG` lists no address for the
    /// job. The chief counts as the first worker.
    ///
    /// `n_tasks` is the number of tasks of the job, including the chief, or `None` if neither a
    /// flag nor the configuration file gives this number. The number is needed for a
    /// `sparseCluster`, and for a map that omits some workers. TensorFlow's own sparse form is such
    /// a map: the map lists only the worker that reads it.
    ///
    /// # Errors
    /// Returns an error if the number of tasks is needed but unknown, if an index is missing, or if
    /// a missing address cannot be derived.
    pub fn hosts(&self, job: Job, n_tasks: Option<u32>) -> Result<Option<HostList>, TfConfigError> {
        if self.is_sparse {
            return self.derived(job, n_tasks.ok_or_else(sizeless)?).map(Some);
        }
        let (key, known) = match job {
            Job::Ps => ("ps", &self.ps),
            Job::Worker => ("worker", &self.workers),
        };
        let gap = (0..).zip(known.keys()).find(|(expected, is)| expected != *is);
        let n_known = u32::try_from(known.len()).expect("an index has 32 bits") + self.n_chiefs();
        match (job, gap, n_tasks) {
            (Job::Worker, _, Some(n)) if self.has_worker_map && (gap.is_some() || n > n_known) => {
                return self.derived(job, n).map(Some);
            }
            (Job::Worker, Some((missing, _)), None) if self.has_worker_map => {
                return Err(TfConfigError(format!(
                    ": cluster.{key} has no {missing}, but a later task, and every task needs the \
                     number of tasks: name them all, give --{key}s N, or give all addresses with \
                     --{key}-hosts"
                )));
            }
            (_, Some((missing, _)), _) => {
                return Err(TfConfigError(format!(
                    ": cluster.{key} has no {missing}, but a later task: number them from 0, or give \
                     all addresses with --{key}-hosts"
                )));
            }
            (_, None, _) => {}
        }
        let chief = self.chief.iter().filter(|_| job == Job::Worker);
        Ok(HostList::new(chief.chain(known.values()).cloned().collect()).ok())
    }

    /// Returns the addresses of all tasks of a job. Derives the addresses that `TF_CONFIG` omits
    /// from the address of this task.
    fn derived(&self, job: Job, n: u32) -> Result<HostList, TfConfigError> {
        let (known, chief) = match job {
            Job::Ps => (&self.ps, None),
            Job::Worker => (&self.workers, self.chief.as_ref()),
        };
        let derived =
            |index| self.template()?.address(job, index).ok_or_else(|| self.underivable());
        let address = |index| known.get(&index).cloned().map_or_else(|| derived(index), Ok);
        let n_numbered = n - u32::from(chief.is_some());
        let all: Result<Vec<_>, _> =
            chief.cloned().map(Ok).into_iter().chain((0..n_numbered).map(address)).collect();
        Ok(HostList::new(all?).expect("a number of tasks is at least 1"))
    }

    fn template(&self) -> Result<Template, TfConfigError> {
        let (own, job, index) = match self.task {
            Some(TfTask::Ps(index)) => (self.ps.get(&index), Job::Ps, index),
            Some(TfTask::Worker(index)) => (self.workers.get(&index), Job::Worker, index),
            _ => (None, Job::Worker, 0),
        };
        own.and_then(|own| Template::of(own, job, index)).ok_or_else(|| self.underivable())
    }

    fn underivable(&self) -> TfConfigError {
        let (task_type, index) = match self.task {
            Some(TfTask::Ps(index)) => ("ps", index),
            Some(TfTask::Worker(index)) => ("worker", index),
            _ => ("worker", 0),
        };
        TfConfigError(format!(
            " does not have the address of this task in the form NAME-{task_type}-{index}.…, from \
             which the other addresses could be derived: give --ps-hosts and --worker-hosts"
        ))
    }
}

/// Returns the error for a `sparseCluster` if no flag or file gives the number of tasks, which a
/// sparse cluster does not contain.
fn sizeless() -> TfConfigError {
    let why = " has a sparseCluster, which does not say how many tasks there are, and every update \
               takes the same number of gradients: give --ps N and --workers N (or ps and workers in \
               [cluster] of the file), or disable enableDynamicWorker";
    TfConfigError(why.to_owned())
}

/// Reads the addresses of a job from a list, or from a map whose keys are indices.
fn addresses(key: &str, value: &Value) -> Result<Addresses, TfConfigError> {
    let address = |key: String, value: &Value| {
        let Value::String(text) = value else {
            return Err(wrong_type(&key, value, "an address, like \"host:2222\""));
        };
        let host = text.trim().parse();
        host.map_err(|error: HostsError| TfConfigError(format!(": {key}: {error}")))
    };
    match value {
        Value::Null => Ok(Addresses::new()),
        Value::Array(list) => (0..)
            .zip(list)
            .map(|(index, value)| Ok((index, address(format!("{key}[{index}]"), value)?)))
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(index, value)| {
                let key = format!("{key}[\"{index}\"]");
                let number = digits(index)
                    .ok_or_else(|| wrong(&format!("the number in {key}"), &shown(index), NUMBER))?;
                Ok((number, address(key, value)?))
            })
            .collect(),
        _ => Err(wrong_type(key, value, "a list of addresses, or a map from number to address")),
    }
}

/// Reads the value of the key `task`. Returns `None` if the value has neither a type nor an index.
fn task(value: &Value) -> Result<Option<TfTask>, TfConfigError> {
    const TYPES: &str = "one of chief, master, worker, ps and evaluator";
    let task = object("task", value)?;
    let Some(given) = task.get("type") else {
        return match task.get("index") {
            None => Ok(None),
            Some(_) => Err(wrong_type("task.type", &Value::Null, TYPES)),
        };
    };
    let Value::String(text) = given else { return Err(wrong_type("task.type", given, TYPES)) };
    let name = text.trim().to_ascii_lowercase();
    let index = task.get("index").filter(|index| !index.is_null()).map(index).transpose()?;
    let numbered = || {
        let why = format!(": task.index is missing: it is the number of this {name}, from 0");
        index.ok_or(TfConfigError(why))
    };
    Ok(Some(match &*name {
        "ps" => TfTask::Ps(numbered()?),
        "worker" => TfTask::Worker(numbered()?),
        "evaluator" => TfTask::Evaluator,
        "chief" | "master" => match index {
            None | Some(0) => TfTask::Chief,
            Some(_) => {
                let given = task.get("index").unwrap_or(&Value::Null);
                return Err(wrong_type("task.index", given, "0, since there is one chief"));
            }
        },
        _ => return Err(wrong_type("task.type", given, TYPES)),
    }))
}

const NUMBER: &str = "a whole number from 0, plain or in quotes";

fn index(value: &Value) -> Result<u32, TfConfigError> {
    let known = match value {
        Value::Number(given) => given.as_u64().and_then(|given| u32::try_from(given).ok()),
        Value::String(text) => digits(text.trim()),
        _ => None,
    };
    // If the cluster has a chief, worker i becomes worker i + 1. With this limit, the addition
    // cannot overflow.
    let known = known.filter(|index| *index < ClusterSize::LARGEST);
    known.ok_or_else(|| wrong_type("task.index", value, NUMBER))
}

fn object<'a>(key: &str, value: &'a Value) -> Result<&'a Map<String, Value>, TfConfigError> {
    value.as_object().ok_or_else(|| wrong_type(key, value, "an object, like {\"key\": …}"))
}

fn wrong_type(key: &str, value: &Value, expected: &str) -> TfConfigError {
    let value = match value {
        Value::Null => "missing".to_owned(),
        value => shown(&value.to_string()),
    };
    wrong(key, &value, expected)
}

fn wrong(key: &str, value: &str, expected: &str) -> TfConfigError {
    TfConfigError(format!(": {key} is {value}, but must be {expected}"))
}

/// Truncates a long value, so that the error message stays readable.
fn shown(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
