//! The sections that describe the cluster, its network and its machines.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use unisono_config::RunConfig;
use unisono_core::TaskId;
use unisono_core::protocol::Limits;
use unisono_core::train_config::Placement;

use super::distribution::Distribution;
use super::keys::*;
use super::task_set::TaskSet;

// The sizes are limited so that a typing error does not request more memory than the machine has.

/// The number of parameter servers.
pub(super) const PS: RangeInclusive<i128> = 1..=64;
/// The number of workers.
pub(super) const WORKERS: RangeInclusive<i128> = 1..=4096;
/// R, the number of gradients per update. Production configuration files have the same limit.
pub(super) const REPLICAS: RangeInclusive<i128> = 1..=4096;
/// The factor by which the simulated network multiplies the sizes of tensors. With the largest
/// factor, the simulator's model of 31 KB loads the network like a model of 31 GB.
pub(super) const TENSOR_FACTOR: RangeInclusive<i128> = 1..=1_000_000;

table! {
    /// The tasks of the cluster.
    Section "cluster"; pub(crate) struct Cluster {
        /// The number of parameter servers.
        ps: u32[PS] = small_run().n_ps,
        /// The number of workers. Worker 0 is the chief.
        workers: u32[WORKERS] = small_run().sync.total_num_replicas,
        /// The distribution of the variables over the ps: whole variables in turn, or an equal
        /// share of all elements for each ps.
        placement: Placement = small_run().placement,
        /// The tasks that start later than time zero, with their start times, such as
        /// `{ "worker 2" = "3s" }`.
        start: BTreeMap<TaskId, Duration> = BTreeMap::new(),
        /// Tasks with wrong settings.
        wrong: Vec<WrongSetting> = Vec::new(),
    }
}

table! {
    /// A setting of one task that differs from the run's setting.
    #[derive(Eq)]
    Tables "cluster.wrong"; pub struct WrongSetting {
        /// The task.
        node: TaskId,
        /// A setting that tasks compare when they connect: a key of `[train]`,
        /// `replicas_to_aggregate`, `workers`, `ps`, `placement`, `validation_size`; or `data`, the
        /// digest of the training data.
        key: String,
        /// The value that the task has.
        value: String,
    }
}

table! {
    /// The number of gradients per update.
    Section "sync"; pub(crate) struct SyncKeys {
        /// R, the number of gradients per update. If R exceeds the number of workers, workers
        /// compute several batches per update. If R is less than the number of workers, the slowest
        /// gradients are dropped.
        replicas_to_aggregate: Option<u32>[REPLICAS] = None; "the number of workers",
    }
}

table! {
    /// Timeouts and intervals of the production nodes.
    Section "limits" Check; impl Limits {
        /// The interval between heartbeats on an idle link.
        heartbeat_interval: Duration[ABOVE_ZERO] = Limits::default().heartbeat_interval,
        /// The time without a message after which a peer counts as lost and its link is closed.
        heartbeat_timeout: Duration[ABOVE_ZERO] = Limits::default().heartbeat_timeout,
        /// The first pause before a retry of a call. Each failure doubles the pause.
        reconnect_min: Duration[ABOVE_ZERO] = Limits::default().reconnect_min,
        /// The longest pause before a retry of a call.
        reconnect_max: Duration[ABOVE_ZERO] = Limits::default().reconnect_max,
        /// The time after which a waiting task reports what it waits for. The task reports again
        /// whenever the wait has doubled.
        report_after: Duration[ABOVE_ZERO] = Limits::default().report_after,
        /// The wait after which a task gives up and ends the run.
        give_up_after: Duration[ABOVE_ZERO] = Limits::default().give_up_after; "none",
        /// The longest wait, at the end of a run, for tasks that have not sent `Goodbye`.
        linger: Duration[ABOVE_ZERO] = Limits::default().linger,
        /// The time limit for the last checkpoint of a chief that was asked to stop.
        stop_timeout: Duration[ABOVE_ZERO] = Limits::default().stop_timeout,
        /// The interval between checkpoints.
        save_interval: Duration[ABOVE_ZERO] = Limits::default().save_interval,
        /// The pause before the chief retries the final checkpoint after the disk has failed.
        final_save_retry: Duration[ABOVE_ZERO] = Limits::default().final_save_retry,
    }
}

table! {
    /// The durations of computations.
    Section "compute"; pub struct ComputeModel {
        /// The duration of a gradient, on any worker.
        gradient: Distribution = uniform(600, 800),
        /// The duration of an update of one shard, on any ps.
        update: Distribution = uniform(40, 60),
        /// Tasks with their own durations.
        tasks as "task": Vec<TaskTime> = Vec::new(),
    }
}

table! {
    /// A task with its own durations. If two tables name the same task, the later table applies.
    Tables "compute.task"; pub struct TaskTime {
        /// The task.
        node: TaskId,
        /// The duration of a gradient of this worker, or of an update of this ps.
        time: Distribution,
    }
}

table! {
    /// The latency and the bandwidth of messages. Each ordered pair of tasks has its own random
    /// latencies and its own bandwidth.
    Section "network"; pub struct NetworkModel {
        /// The form in which messages travel. The form does not affect the nodes.
        wire: Wire = Wire::default(),
        /// The time that a message takes from the sender to the receiver, without the transfer time
        /// of its bytes.
        latency: Distribution = Distribution::Const(micros(100)),
        /// The jitter of each message, which is added to the latency. The messages on a link keep
        /// their order nevertheless.
        jitter: Distribution = uniform(0, 20),
        /// The bandwidth of each ordered pair of tasks, in bytes per second.
        bandwidth: Option<NonZeroU64>[OR_UNLIMITED] = None,
        /// The bandwidth of each task's network card in each direction, in bytes per second. All
        /// links of a task share its card, so workers that push to the same ps wait for the card of
        /// the ps.
        nic: Option<NonZeroU64>[OR_UNLIMITED] = None,
        /// The factor by which the simulated network multiplies the sizes of tensors, to simulate a
        /// larger model.
        tensor_factor: u32[TENSOR_FACTOR] = 1,
        /// The time after which an unanswered call fails.
        connect_timeout: Duration[ABOVE_ZERO] = Duration::from_secs(3),
        /// Links with their own latency, jitter or bandwidth.
        links as "link": Vec<LinkOverride> = Vec::new(),
    }
}

table! {
    /// Links with their own latency, jitter or bandwidth. If two tables match the same link, the
    /// keys of the later table override the keys of the earlier table.
    Tables "network.link" Check; pub struct LinkOverride {
        /// The senders.
        from: TaskSet,
        /// The receivers.
        to: TaskSet,
        /// The latency of these links.
        latency: Option<Distribution> = None; "the network's",
        /// The jitter of these links.
        jitter: Option<Distribution> = None; "the network's",
        /// The bandwidth of each ordered pair of these tasks, in bytes per second.
        bandwidth: Option<NonZeroU64> = None; "the network's",
    }
}

choices! {
    /// The form in which messages travel. The form does not affect the nodes.
    pub enum Wire: "wire" = Shared {
        /// The receiver gets the message and its tensors in shared memory, which is fast.
        Shared = "shared",
        /// Frames that are encoded and decoded as over TCP.
        Bytes = "bytes",
    }
}

table! {
    /// The times of the chief's disk.
    Section "storage"; pub struct StorageModel {
        /// The duration of an operation that writes.
        write: Duration = micros(20),
        /// The duration of a sync.
        sync: Duration = micros(500),
        /// The duration of an operation that reads.
        read: Duration = micros(20),
        /// Bytes per second, read or written.
        bandwidth: Option<NonZeroU64>[OR_UNLIMITED] = None,
    }
}

table! {
    /// The limits of a run. A run that reaches a limit has failed.
    #[derive(Copy, Eq)]
    Section "sim"; pub struct SimLimits {
        /// The number of seeds that `run` plays without `--seeds`.
        seeds: u32[1..=1_000_000] = 64,
        /// The longest virtual time of a run.
        max_virtual_time: Duration[ABOVE_ZERO] = Duration::from_secs(600),
        /// The largest number of events of a run.
        max_events: u64[1..=1_000_000_000_000] = 1_000_000,
        /// Whether all seeds may play the same order of events. If this key is false, the command
        /// `run` fails a scenario when eight or more seeds all play the same order.
        one_order: bool = false,
    }
}

table! {
    /// Progress after the faults.
    Section "liveness"; pub(crate) struct Liveness {
        /// The time within which a run must end, counted from the end of its last fault.
        within: Duration[ABOVE_ZERO] = Duration::from_secs(60),
    }
}

const fn uniform(min: u64, max: u64) -> Distribution {
    Distribution::Uniform { min: micros(min), max: micros(max) }
}

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// Returns the configuration of a run with two ps, two workers and a small model, which takes
/// little time to simulate.
pub(crate) fn small_run() -> RunConfig {
    let mut run = RunConfig::default();
    run.train.hidden = Vec::new();
    run.train.batch_size = 10;
    run.train.training_steps = 20;
    run
}
