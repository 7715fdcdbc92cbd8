//! A scenario: a cluster, its network and machines, its faults, and the expected result.
//!
//! A scenario is valid by construction. Each struct and enum here also declares its keys in
//! scenario files, with limits, defaults and texts; [`mod@file`] derives the reader, the writer and
//! the reference from these declarations. Only `[train]`, `[sync]` and the size of the cluster may
//! change a number of the run.

mod chaos;
mod dice;
mod distribution;
pub mod draw;
mod expect;
mod fault;
pub mod file;
mod keys;
mod range;
mod sections;
mod task_set;

use std::collections::BTreeMap;
use std::time::Duration;

use unisono_config::RunConfig;
use unisono_core::TaskId;
use unisono_core::protocol::Limits;

pub use chaos::Chaos;
pub use distribution::Distribution;
pub(crate) use distribution::{nanos, scale};
pub use expect::{Expect, ExpectedEvent, ExpectedOutcome, Oracle, Place, Places};
pub use fault::{
    ConnectMode, DiskMode, End, EventPattern, Family, Fault, FaultKind, GradientMode,
    PartitionMode, PeersSee, Trigger, When,
};
pub use file::ScenarioError;
pub use range::Range;
pub(crate) use sections::{Cluster, Liveness, SyncKeys, small_run};
pub use sections::{
    ComputeModel, LinkOverride, NetworkModel, SimLimits, StorageModel, TaskTime, Wire, WrongSetting,
};
pub use task_set::TaskSet;

/// A test of a cluster. The same file and seed give the same run, event by event.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// `[train]`, `[sync]`, and the size and placement of `[cluster]`: everything that a number of
    /// the run depends on. Its paths and its output settings have no effect here.
    pub run: RunConfig,
    /// `start` of `[cluster]`: the tasks that start later than time zero.
    pub start: BTreeMap<TaskId, Duration>,
    /// `[[cluster.wrong]]`.
    pub wrong: Vec<WrongSetting>,
    /// `[limits]`.
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
    /// `[chaos]`.
    pub chaos: Option<Chaos>,
    /// `[expect]`.
    pub expect: Expect,
    /// `within` of `[liveness]`: a run ends within this time after its last fault has ended.
    pub liveness: Duration,
}

/// A small run without faults, of about 20 ms of virtual time.
///
/// The default durations vary a little. With constant durations all seeds would play one order of
/// events, because the same message would always be the first.
impl Default for Scenario {
    fn default() -> Self {
        Self {
            run: small_run(),
            start: BTreeMap::new(),
            wrong: Vec::new(),
            limits: Limits::default(),
            compute: ComputeModel::default(),
            network: NetworkModel::default(),
            storage: StorageModel::default(),
            sim: SimLimits::default(),
            faults: Vec::new(),
            chaos: None,
            expect: Expect::default(),
            liveness: Liveness::default().within,
        }
    }
}
