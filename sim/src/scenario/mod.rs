//! A scenario: a cluster, what it runs on, what goes wrong, and what must come of it.
//!
//! Plain data that is right by construction; files become it in [`mod@file`], and it becomes files
//! again there. Only `train`, the cluster's size and `sync` may touch a number of the run.

mod chaos;
mod defaults;
mod distribution;
pub mod draw;
mod expect;
mod fault;
pub mod file;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use unisono_config::RunConfig;
use unisono_core::TaskId;
use unisono_core::protocol::Limits;

pub use chaos::{Chaos, Range};
pub use distribution::Distribution;
pub(crate) use distribution::{nanos, scale};
pub use expect::{Expect, ExpectedEvent, ExpectedOutcome, Oracle, Place, Places};
pub use fault::{
    ConnectMode, DiskMode, End, EventPattern, Family, Fault, FaultKind, GradientMode,
    PartitionMode, PeersSee, TaskSet, Trigger, When,
};
pub use file::ScenarioError;

/// One story: the same file and seed give the same run, event by event.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// `[train]`, `[sync]`, and of `[cluster]` its size and placement: all that a number of the run
    /// depends on. Where files are, and how progress is shown, does not matter here.
    pub run: RunConfig,
    /// `[cluster]`: who is not started at time zero, and when it is.
    pub start: BTreeMap<TaskId, Duration>,
    /// `[[cluster.wrong]]`: settings that tasks are started with, against those of the run.
    pub wrong: Vec<WrongSetting>,
    /// `[limits]`: how long nodes wait for what.
    pub limits: Limits,
    /// `[compute]`.
    pub compute: ComputeModel,
    /// `[network]`.
    pub network: NetworkModel,
    /// `[storage]`.
    pub storage: StorageModel,
    /// `[sim]`.
    pub sim: SimLimits,
    /// `[[fault]]`, in the order of the file.
    pub faults: Vec<Fault>,
    /// `[chaos]`: faults that each seed draws for itself.
    pub chaos: Option<Chaos>,
    /// `[expect]`.
    pub expect: Expect,
    /// `[liveness]` `within`: once the last fault has ended, the run ends within this time.
    pub liveness: Duration,
}

/// A setting that a task was wrongly started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongSetting {
    /// The task.
    pub node: TaskId,
    /// The key of a setting as tasks exchange it, such as `batch_size`; or `data`, the digest of
    /// the training data.
    pub key: String,
    /// What the task has instead.
    pub value: String,
}

/// How long computations take.
#[derive(Clone, Debug, PartialEq)]
pub struct ComputeModel {
    /// A gradient, on any worker that is not listed below.
    pub gradient: Distribution,
    /// An update of one shard, on any ps that is not listed below.
    pub update: Distribution,
    /// `[[compute.task]]`: tasks that take their own time.
    pub tasks: BTreeMap<TaskId, Distribution>,
}

/// How long messages take. All of it is of each ordered pair of tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkModel {
    /// What messages travel as.
    pub wire: Wire,
    /// From end to end, for each message, whatever its size.
    pub latency: Distribution,
    /// Added to it, for each message. Order is kept while a link is up.
    pub jitter: Distribution,
    /// Bytes a second of each ordered pair; `None` is no limit.
    pub bandwidth: Option<NonZeroU64>,
    /// Bytes a second of each task's network card, shared by all its links, each way; `None` is no
    /// limit. Many workers that push to one ps wait for its card.
    pub nic: Option<NonZeroU64>,
    /// As how many bytes each byte of a tensor counts, as if the model were so much larger.
    pub tensor_factor: u32,
    /// After this time a call that nobody answers has failed.
    pub connect_timeout: Duration,
    /// `[[network.link]]`: pairs that are different. A later one wins.
    pub links: Vec<LinkOverride>,
}

/// A pair of tasks, or several, whose links are not like the others.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkOverride {
    /// Who sends.
    pub from: TaskSet,
    /// Who receives.
    pub to: TaskSet,
    /// Instead of the network's.
    pub latency: Option<Distribution>,
    /// Instead of the network's.
    pub jitter: Option<Distribution>,
    /// Instead of the network's.
    pub bandwidth: Option<NonZeroU64>,
}

/// What messages travel as. It changes nothing that a node could see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// The message itself; its tensors are shared, not copied. Fast.
    #[default]
    Shared,
    /// Frames, encoded and decoded as on TCP.
    Bytes,
}

/// How long the chief's disk takes.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageModel {
    /// An operation that writes.
    pub write: Duration,
    /// A sync.
    pub sync: Duration,
    /// An operation that reads.
    pub read: Duration,
    /// Bytes a second, read or written; `None` is no limit.
    pub bandwidth: Option<NonZeroU64>,
}

/// Where a run is given up. A run that comes to one of these has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimLimits {
    /// Seeds that `run` plays when it is not told how many.
    pub seeds: u32,
    /// The longest virtual time.
    pub max_virtual_time: Duration,
    /// The most events.
    pub max_events: u64,
    /// All seeds may play one order of events: nothing in the scenario varies, and more seeds would
    /// only repeat the first.
    pub one_order: bool,
}
