//! The list of all metrics, each with its name, its help text and its handle.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::labels::{Build, Kind, Peer, TaskOrStorage, WaitLabels, Why};
use unisono_core::ids::{Incarnation, Job, TaskId};
use unisono_core::protocol::{ClusterConfig, Verdict};
use unisono_net::tcp::{Counts, Traffic};

/// A gauge of integers.
type Level = Gauge<u64, AtomicU64>;
/// A gauge of seconds, losses or accuracies.
type Real = Gauge<f64, AtomicU64>;
/// A counter of seconds.
type Seconds = Counter<f64, AtomicU64>;

/// The gauge of the validation accuracy. The thread that evaluates the model sets it.
pub type ValidationAccuracy = Real;

/// Bucket bounds for the duration of a step, in seconds. The bounds range from a step of a small
/// model on one machine to a step of a stalled run.
const STEP_BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// The values of the label `why`.
const DROP_REASONS: [&str; 4] = ["stale", "duplicate", "fenced", "surplus"];

/// Declares the handles of all metrics, and registers them. For each metric: its documentation,
/// which is also its help text, its field with type and initial value, the tasks that have it, its
/// name in Prometheus, and its labels except `task`.
macro_rules! meters {
    (|$traffic:ident| $(
        $(#[doc = $doc:literal])*
        $field:ident: $type:ty $(= $initial:expr)?, $tasks:ident, $name:literal, $labels:literal;
    )*) => {
        /// The handles of the metrics of a task.
        #[derive(Clone, Debug)]
        pub struct Meters { $( $(#[doc = $doc])* pub $field: $type, )* }

        impl Meters {
            fn register_with(to: &mut Registrar, $traffic: &Traffic) -> Self {
                Self { $(
                    $field: to.add(
                        $name, $labels, $tasks, concat!($($doc),*), meters!(@initial $($initial)?)
                    ),
                )* }
            }
        }
    };
    (@initial) => { Default::default() };
    (@initial $initial:expr) => { $initial };
}

meters! {
    |traffic|
    /// Version of the parameters that this task has.
    global_step: Level, ALL, "unisono_global_step", "";
    /// Number of the current generation; a rollback opens a new generation.
    generation: Level, ALL, "unisono_generation", "";
    /// Updates that this ps has applied to its shard.
    updates: Counter, PS, "unisono_updates_total", "";
    /// Gradients in the applied updates: replicas_to_aggregate in each.
    gradients_applied: Counter, PS, "unisono_gradients_applied_total", "";
    /// Gradients that were received and not used: stale, duplicate, fenced (of an older generation)
    /// or surplus (not among the first R).
    gradients_dropped: Family<Why, Counter>, PS, "unisono_gradients_dropped_total", "why";
    /// Gradients that this worker has computed.
    gradients_computed: Counter, WORKERS, "unisono_gradients_computed_total", "";
    /// Seconds from one version to the next at this task.
    step_seconds: Histogram = Histogram::new(STEP_BUCKETS), ALL, "unisono_step_seconds", "";
    /// Mean loss over the slots of the last recorded update.
    loss: Real, CHIEF, "unisono_loss", "";
    /// Share of the validation examples that the newest summarized version classifies correctly;
    /// NaN before the first evaluation and with --save-summaries-secs 0.
    validation_accuracy: Real = gauge_without_value(), CHIEF, "unisono_validation_accuracy", "";
    /// Every update below this step is in losses.csv.
    recorded_step: Level, CHIEF, "unisono_recorded_step", "";
    /// Step of the newest checkpoint of this incarnation; 0 before the first.
    checkpoint_step: Level, CHIEF, "unisono_checkpoint_step", "";
    /// Seconds since the newest checkpoint became durable, or since this incarnation started.
    checkpoint_age_seconds: Real, CHIEF, "unisono_checkpoint_age_seconds", "";
    /// Checkpoints that became durable.
    checkpoints: Counter, CHIEF, "unisono_checkpoints_total", "";
    /// Checkpoints that could not be written.
    checkpoints_failed: Counter, CHIEF, "unisono_checkpoints_failed_total", "";
    /// Restarts of a ps that had lost its shard.
    shards_lost: Counter, CHIEF, "unisono_shards_lost_total", "";
    /// Seconds that this task has waited for another task or for its storage; a wait for several
    /// tasks counts for each of them.
    wait_seconds: Family<WaitLabels, Seconds>, ALL, "unisono_wait_seconds_total", "what, of";
    /// Seconds since the current wait began; no series while the task does not wait.
    waiting_seconds: Family<WaitLabels, Real>, ALL, "unisono_waiting_seconds", "what, of";
    /// 1 while this task has a session with the peer, else 0.
    peer_up: Family<Peer, Level>, ALL, "unisono_peer_up", "peer";
    /// Sessions with the peer after the first one.
    reconnects: Family<Peer, Counter>, ALL, "unisono_reconnects_total", "peer";
    /// Callers that were refused.
    callers_turned_away: Counter, PS, "unisono_callers_turned_away_total", "";
    /// Messages received.
    messages_received: Family<Kind, Counter>, ALL, "unisono_messages_received_total", "kind";
    /// Messages sent.
    messages_sent: Family<Kind, Counter>, ALL, "unisono_messages_sent_total", "kind";
    /// Bytes received through sockets.
    bytes_received: Counted = Counted::new(traffic, |all| &all.received),
        ALL, "unisono_bytes_received_total", "";
    /// Bytes sent through sockets.
    bytes_sent: Counted = Counted::new(traffic, |all| &all.sent),
        ALL, "unisono_bytes_sent_total", "";
    /// Bytes of tensors received through shared memory.
    shared_bytes_received: Counted = Counted::new(traffic, |all| &all.shared_received),
        ALL, "unisono_shared_bytes_received_total", "";
    /// Bytes of tensors sent through shared memory.
    shared_bytes_sent: Counted = Counted::new(traffic, |all| &all.shared_sent),
        ALL, "unisono_shared_bytes_sent_total", "";
    /// Number of this incarnation of the task, larger for each restart: usually the machine's clock
    /// in microseconds at the start.
    incarnation: Level, ALL, "unisono_incarnation", "";
    /// Updates that the run makes in total.
    training_steps: Level, ALL, "unisono_training_steps", "";
    /// Gradients per update.
    replicas_to_aggregate: Level, ALL, "unisono_replicas_to_aggregate", "";
    /// Always 1; the label has the version of the program.
    build: Family<Build, Level>, ALL, "unisono_build_info", "version";
}

/// The description of a metric, for the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of the metric in Prometheus.
    pub name: &'static str,
    /// The kind of the metric: `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The labels of the metric except `task`, separated by commas.
    pub labels: &'static str,
    /// The tasks that have the metric: `all`, `ps`, `workers` or `chief`.
    pub tasks: &'static str,
    /// The help text, without a period.
    pub help: &'static str,
}

/// A set of tasks that have a metric: its name, and a function that returns whether a task belongs
/// to it.
type TaskSet = (&'static str, fn(TaskId) -> bool);

const ALL: TaskSet = ("all", |_| true);
const PS: TaskSet = ("ps", |task| task.job == Job::Ps);
const WORKERS: TaskSet = ("workers", |task| task.job == Job::Worker);
const CHIEF: TaskSet = ("chief", |task| task == TaskId::CHIEF);

/// Returns the tasks with which a task has sessions. Workers call every ps. With R < N, each other
/// ps also calls ps 0.
pub(super) fn peers_of(
    task: TaskId,
    cluster: &ClusterConfig,
) -> impl Iterator<Item = TaskId> + use<> {
    let n_workers = if task.job == Job::Ps { cluster.sync.total_num_replicas } else { 0 };
    let n_ps = match (task.job, cluster.has_backup_workers()) {
        (Job::Worker, _) => cluster.n_ps,
        (Job::Ps, true) if task == TaskId::PS_ZERO => cluster.n_ps,
        (Job::Ps, true) => 1,
        (Job::Ps, false) => 0,
    };
    let ps = (0..n_ps).map(TaskId::ps).filter(move |ps| *ps != task);
    ps.chain((0..n_workers).map(TaskId::worker))
}

pub(super) const fn drop_reason(verdict: Option<Verdict>) -> Why {
    let why = match verdict {
        Some(Verdict::Stale) => "stale",
        Some(Verdict::Duplicate) => "duplicate",
        Some(Verdict::Fenced) => "fenced",
        None => "surplus",
    };
    Why { why }
}

impl Meters {
    /// Registers the metrics of a task, with their initial values.
    pub(super) fn register(
        task: TaskId,
        incarnation: Incarnation,
        cluster: &ClusterConfig,
        traffic: &Traffic,
    ) -> (Registry, Self) {
        let mut registrar = Registrar::new(task);
        let meters = Self::register_with(&mut registrar, traffic);
        meters.incarnation.set(incarnation.0);
        meters.training_steps.set(cluster.training_steps.0);
        meters.replicas_to_aggregate.set(cluster.sync.replicas_to_aggregate.into());
        meters.build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        // Series whose labels are known beforehand exist from the start. If a series appears only
        // with its first increase, `rate` does not see that increase.
        for why in DROP_REASONS {
            drop(meters.gradients_dropped.get_or_create(&Why { why }));
        }
        for peer in peers_of(task, cluster) {
            let peer = Peer { peer: TaskOrStorage::Task(peer) };
            drop(meters.peer_up.get_or_create(&peer));
            drop(meters.reconnects.get_or_create(&peer));
        }
        (registrar.registry, meters)
    }

    /// Returns the descriptions of all metrics.
    #[must_use]
    pub fn catalogue() -> Vec<Entry> {
        // The catalogue contains the metrics of all tasks, so any task may be chosen here.
        let mut registrar = Registrar::new(TaskId::CHIEF);
        Self::register_with(&mut registrar, &Traffic::default());
        registrar.catalogue
    }
}

/// Returns a gauge that starts as NaN. A start value of 0 would look like a measured accuracy.
fn gauge_without_value() -> Real {
    let gauge = Real::default();
    gauge.set(f64::NAN);
    gauge
}

/// Registers metrics, and collects their descriptions.
struct Registrar {
    task: TaskId,
    registry: Registry,
    catalogue: Vec<Entry>,
}

impl Registrar {
    fn new(task: TaskId) -> Self {
        let labels = [("task".into(), task.to_string().into())];
        Self { task, registry: Registry::with_labels(labels.into_iter()), catalogue: Vec::new() }
    }

    fn add<M: Metric + EncodeMetric + Clone>(
        &mut self,
        name: &'static str,
        labels: &'static str,
        (tasks, contains): TaskSet,
        documentation: &'static str,
        metric: M,
    ) -> M {
        let help = documentation.trim_start().trim_end_matches('.');
        let kind = match metric.metric_type() {
            MetricType::Counter => "counter",
            MetricType::Histogram => "histogram",
            _ => "gauge",
        };
        self.catalogue.push(Entry { name, kind, labels, tasks, help });
        if contains(self.task) {
            // The encoder itself appends `_total` to a counter's name, and a period to the help
            // text.
            let bare = name.strip_suffix("_total").unwrap_or(name);
            self.registry.register(bare, help, metric.clone());
        }
        metric
    }
}

/// Selects one of the counters.
type CountOf = fn(&Counts) -> &AtomicU64;

/// A metric whose value is a counter of the network.
#[derive(Clone, Debug)]
pub struct Counted {
    traffic: Traffic,
    count: CountOf,
}

impl Counted {
    fn new(traffic: &Traffic, count: CountOf) -> Self {
        Self { traffic: traffic.clone(), count }
    }
}

impl EncodeMetric for Counted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // The counter is read here, so that the network does not depend on the metrics.
        let count = (self.count)(&self.traffic).load(Ordering::Relaxed);
        encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
