//! A scenario: a cluster, its network and machines, its faults, and the expected result.
//!
//! A scenario is valid by construction. Each struct and enum of this module also declares its keys
//! in scenario files, with limits, defaults and descriptions. [`mod@file`] derives the reader, the
//! writer and the reference documentation from these declarations. Only `[train]`, `[sync]` and the
//! size of the cluster can change the numbers that a run computes.

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
    /// The settings from `[train]`, from `[sync]` and from `[cluster]` (the size of the cluster and
    /// the placement of the variables). Paths and output settings have no effect in a simulated
    /// run.
    pub run: RunConfig,
    /// `start` of `[cluster]`: the start times of the tasks that start later than time zero.
    pub start: BTreeMap<TaskId, Duration>,
    /// `[[cluster.wrong]]`: tasks with wrong settings.
    pub wrong: Vec<WrongSetting>,
    /// `[limits]`: timeouts and intervals of the nodes.
    pub limits: Limits,
    /// `[compute]`: the durations of computations.
    pub compute: ComputeModel,
    /// `[network]`: the times of messages.
    pub network: NetworkModel,
    /// `[storage]`: the times of the chief's disk.
    pub storage: StorageModel,
    /// `[sim]`: the limits of the run.
    pub sim: SimLimits,
    /// `[[fault]]`: the faults, in the order of the file.
    pub faults: Vec<Fault>,
    /// `[chaos]`: the ranges from which each seed draws its faults and its cluster. `None` if seeds
    /// draw neither.
    pub chaos: Option<Chaos>,
    /// `[expect]`: the expected result.
    pub expect: Expect,
    /// The lines of the keys of `[expect]` in the scenario file.
    pub places: Places,
    /// `within` of `[liveness]`: the time within which a run must end, counted from the end of its
    /// last fault.
    pub liveness: Duration,
}

/// Returns the scenario of an empty file: a small run without faults, which takes about 20 ms of
/// virtual time.
///
/// The default durations vary a little. With constant durations, messages would arrive in the same
/// order for every seed, so all seeds would have the same order of events.
impl Default for Scenario {
    fn default() -> Self {
        Self::parse("", "").expect("a file without keys is valid")
    }
}
