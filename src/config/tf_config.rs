//! `TF_CONFIG`: which task this is and where all are, in the JSON by which Kubeflow, Vertex and
//! others start TensorFlow's clusters.
//!
//! Of every job no more than the addresses is read; a key that is not known is somebody else's.

mod sparse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::sparse::Template;
use super::hosts::{HostList, HostPort};
use crate::hosts_error::HostsError;
use unisono_core::ids::{Job, TaskId};
use unisono_core::train_config::ClusterSize;

/// What `TF_CONFIG` says. Any part may be missing: flags can say it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TfConfig {
    ps: Addresses,
    /// `chief`, or `master`, as it was called before.
    chief: Option<HostPort>,
    workers: Addresses,
    /// Whether the workers are a map, which need not have them all.
    has_worker_map: bool,
    /// Whether it is a `sparseCluster`, which names none but those whom this task calls.
    is_sparse: bool,
    task: Option<TfTask>,
}

/// A job's addresses by index.
type Addresses = BTreeMap<u32, HostPort>;

/// `task`, by its type and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TfTask {
    Ps(u32),
    Chief,
    Worker(u32),
    Evaluator,
}

/// Who a task is among ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A task of the cluster.
    Task(TaskId),
    /// It looks at checkpoints, and takes no part in the training.
    Evaluator,
}

/// Why `TF_CONFIG` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TfConfigError {
    /// It cannot be read at all.
    #[error("TF_CONFIG is no JSON: {why}; it is {value}")]
    NotJson {
        /// How it begins.
        value: String,
        /// What the parser says.
        why: String,
    },
    /// A value of another type.
    #[error("TF_CONFIG: {key} is {value}, and must be {expected}")]
    Type {
        /// Where.
        key: String,
        /// What it is.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// An address that is none.
    #[error("TF_CONFIG: {key}: {source}")]
    Host {
        /// Where.
        key: String,
        /// What is wrong.
        source: HostsError,
    },
    /// Two names of one task.
    #[error("TF_CONFIG: cluster has both chief and master, which are one task: leave one out")]
    ChiefAndMaster,
    /// There is one chief.
    #[error("TF_CONFIG: cluster.{key} has {n} tasks, and a cluster has one chief: name one")]
    Chiefs {
        /// `chief` or `master`.
        key: &'static str,
        /// How many there are.
        n: usize,
    },
    /// The task is the chief, and the cluster has none.
    #[error(
        "TF_CONFIG: task.type is {0}, but cluster has neither chief nor master: add its address"
    )]
    NoChief(String),
    /// A task without number.
    #[error("TF_CONFIG: task.index is missing: it is the number of this {0}, from 0")]
    NoIndex(String),
    /// Indices must follow each other.
    #[error(
        "TF_CONFIG: cluster.{key} has no {missing}, but a later task, and every task has to know how \
         many there are: name them all, give --{key}s N, or give all addresses with --{key}-hosts"
    )]
    WorkerGap {
        /// The job.
        key: &'static str,
        /// The first index that is missing.
        missing: u32,
    },
    /// Every ps is called, so every ps needs an address.
    #[error(
        "TF_CONFIG: cluster.{key} has no {missing}, but a later task: number them from 0, or give \
         all addresses with --{key}-hosts"
    )]
    Gap {
        /// The job.
        key: &'static str,
        /// The index.
        missing: u32,
    },
    /// A `sparseCluster` says no more than it needs.
    #[error(
        "TF_CONFIG has a sparseCluster, which does not say how many tasks there are, and every \
         update takes the same number of gradients: give --ps N and --workers N (or ps and workers \
         in [cluster] of the file), or switch enableDynamicWorker off"
    )]
    Sizeless,
    /// Names of tasks that cannot be derived.
    #[error(
        "TF_CONFIG does not have this task's own address in the form NAME-{task_type}-{index}.…, from \
         which those of the others would follow: give --ps-hosts and --worker-hosts"
    )]
    Underivable {
        /// The job's name.
        task_type: &'static str,
        /// Its number.
        index: u32,
    },
}

impl TfConfig {
    /// Reads the variable's value.
    ///
    /// # Errors
    /// If it is no JSON, or something in it has another form than every engine gives it.
    pub fn parse(text: &str) -> Result<Self, TfConfigError> {
        let value: Value = serde_json::from_str(text).map_err(|error| TfConfigError::NotJson {
            value: shown(text),
            why: error.to_string(),
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
            n => Err(TfConfigError::Chiefs { key, n }),
        };
        let chief = match (one("chief", job("chief")?)?, one("master", job("master")?)?) {
            (Some(_), Some(_)) => return Err(TfConfigError::ChiefAndMaster),
            (chief, master) => chief.or(master),
        };
        let (mut ps, workers) = (job("ps")?, job("worker")?);
        if let (true, Some(TfTask::Ps(index)), 1) = (self.is_sparse, self.task, ps.len()) {
            // A ps is told of itself alone, in a list.
            ps = ps.into_values().map(|own| (index, own)).collect();
        }
        let has_worker_map = jobs
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("worker") && value.is_object());
        Ok(Self { ps, chief, workers, has_worker_map, ..self })
    }

    /// Whether none but the callees of this task are named.
    #[must_use]
    pub const fn is_sparse(&self) -> bool {
        self.is_sparse
    }

    /// How many of the first workers it numbers apart: the chief, if there is one.
    #[must_use]
    pub fn n_chiefs(&self) -> u32 {
        u32::from(self.chief.is_some())
    }

    /// Which task this is, if it says: the chief is worker 0, and the workers come after it, as
    /// TensorFlow numbers them.
    ///
    /// # Errors
    /// If it is the chief of a cluster that has none.
    pub fn role(&self) -> Result<Option<Role>, TfConfigError> {
        Ok(Some(match self.task {
            None => return Ok(None),
            Some(TfTask::Evaluator) => Role::Evaluator,
            Some(TfTask::Ps(index)) => Role::Task(TaskId::ps(index)),
            Some(TfTask::Worker(index)) => {
                Role::Task(TaskId::worker(index.saturating_add(self.n_chiefs())))
            }
            Some(TfTask::Chief) if self.chief.is_some() => Role::Task(TaskId::CHIEF),
            Some(TfTask::Chief) => return Err(TfConfigError::NoChief("chief".to_owned())),
        }))
    }

    /// The addresses of a job, or `None` if the cluster lists none. The chief comes first among the
    /// workers.
    ///
    /// `n_tasks` is their number, the chief's included, if something else than `TF_CONFIG` says it. A
    /// `sparseCluster` needs it, and so does a map of the workers that has not all of them, as
    /// TensorFlow's own sparse form has only the worker that it is for.
    ///
    /// # Errors
    /// If a number is missing among them, or they do not follow from what there is.
    pub fn hosts(&self, job: Job, n_tasks: Option<u32>) -> Result<Option<HostList>, TfConfigError> {
        if self.is_sparse {
            return self.derived(job, n_tasks.ok_or(TfConfigError::Sizeless)?).map(Some);
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
                return Err(TfConfigError::WorkerGap { key, missing });
            }
            (_, Some((missing, _)), _) => return Err(TfConfigError::Gap { key, missing }),
            (_, None, _) => {}
        }
        let chief = self.chief.iter().filter(|_| job == Job::Worker);
        Ok(HostList::new(chief.chain(known.values()).cloned().collect()).ok())
    }

    /// All addresses of a job, those that are not known after the form of this task's own.
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
        TfConfigError::Underivable { task_type, index }
    }
}

/// A job's addresses, as a list or as a map from index to address.
fn addresses(key: &str, value: &Value) -> Result<Addresses, TfConfigError> {
    let address = |key: String, value: &Value| {
        let Value::String(text) = value else {
            return Err(wrong_type(&key, value, "an address, like \"host:2222\""));
        };
        text.trim().parse().map_err(|source| TfConfigError::Host { key, source })
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
                let number = number(index).ok_or_else(|| TfConfigError::Type {
                    key: format!("the number in {key}"),
                    value: shown(index),
                    expected: NUMBER,
                })?;
                Ok((number, address(key, value)?))
            })
            .collect(),
        _ => Err(wrong_type(key, value, "a list of addresses, or a map from number to address")),
    }
}

/// Nothing if `task` is empty.
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
    let numbered = || index.ok_or_else(|| TfConfigError::NoIndex(name.clone()));
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
        Value::String(text) => number(text.trim()),
        _ => None,
    };
    // The workers come after the chief, and a number has to be left for the last of them.
    let known = known.filter(|index| *index < ClusterSize::LARGEST);
    known.ok_or_else(|| wrong_type("task.index", value, NUMBER))
}

fn number(text: &str) -> Option<u32> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all_digits)
}

fn object<'a>(key: &str, value: &'a Value) -> Result<&'a Map<String, Value>, TfConfigError> {
    value.as_object().ok_or_else(|| wrong_type(key, value, "an object, like {\"key\": …}"))
}

fn wrong_type(key: &str, value: &Value, expected: &'static str) -> TfConfigError {
    let value = match value {
        Value::Null => "missing".to_owned(),
        value => shown(&value.to_string()),
    };
    TfConfigError::Type { key: key.to_owned(), value, expected }
}

/// As much of a value as helps.
fn shown(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
