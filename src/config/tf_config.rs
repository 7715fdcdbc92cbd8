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
use super::hosts::{HostList, HostPort, HostsError};
use super::run::ClusterSize;
use crate::ids::{Job, TaskId};

/// What `TF_CONFIG` says. Any part may be missing: flags can say it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TfConfig {
    ps: Addresses,
    /// `chief`, or `master`, as it was called before.
    chief: Option<HostPort>,
    workers: Addresses,
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
    #[error("TF_CONFIG: cluster.{key} has no {missing}, but a later task: number them from 0")]
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
        "TF_CONFIG: sparseCluster does not have this task's own address in the form \
         NAME-{task_type}-{index}.…, from which those of the others would follow: give --ps-hosts and \
         --worker-hosts"
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
        Ok(Self { ps, chief, workers, ..self })
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

    /// A job's addresses, if it says any: of the workers, the chief's comes first. A sparse one
    /// needs to be told how many there are.
    ///
    /// # Errors
    /// If a number is missing among them, or they do not follow from what there is.
    pub fn hosts(
        &self,
        job: Job,
        size: Option<ClusterSize>,
    ) -> Result<Option<HostList>, TfConfigError> {
        if self.is_sparse {
            return self.derived(job, size).map(Some);
        }
        let (key, known) = match job {
            Job::Ps => ("ps", &self.ps),
            Job::Worker => ("worker", &self.workers),
        };
        if let Some((missing, _)) = (0..).zip(known.keys()).find(|(expected, is)| expected != *is) {
            return Err(TfConfigError::Gap { key, missing });
        }
        let chief = self.chief.iter().filter(|_| job == Job::Worker);
        Ok(HostList::new(chief.chain(known.values()).cloned().collect()).ok())
    }

    fn derived(&self, job: Job, size: Option<ClusterSize>) -> Result<HostList, TfConfigError> {
        let size = size.ok_or(TfConfigError::Sizeless)?;
        let (known, n) = match job {
            Job::Ps => (&self.ps, size.n_ps),
            Job::Worker => (&self.workers, size.n_workers),
        };
        let template = self.template()?;
        let address =
            |index| known.get(&index).cloned().unwrap_or_else(|| template.address(job, index));
        Ok(HostList::new((0..n).map(address).collect()).expect("a size is at least 1"))
    }

    fn template(&self) -> Result<Template, TfConfigError> {
        let (own, task_type, index) = match self.task {
            Some(TfTask::Ps(index)) => (self.ps.get(&index), "ps", index),
            Some(TfTask::Worker(index)) => (self.workers.get(&index), "worker", index),
            _ => (None, "worker", 0),
        };
        let template = own.and_then(|own| Template::of(own, task_type, index));
        template.ok_or(TfConfigError::Underivable { task_type, index })
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
