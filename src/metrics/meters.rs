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

/// The gauge of the validation accuracy. The thread that evaluates the model sets it.
pub type ValidationAccuracy = Real;

/// Bucket bounds for the duration of a step, in seconds. The bounds range from a step of a small
/// model on one machine to a step of a stalled run.
const STEP_BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// The values of the label `why`.
pub(super) const DROP_REASONS: [&str; 4] = ["stale", "duplicate", "fenced", "surplus"];

/// The handles of the metrics that change while a task runs.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each metric is described where it is registered")]
pub struct Meters {
    pub global_step: Level,
    pub generation: Level,
    pub updates: Counter,
    pub gradients_applied: Counter,
    pub gradients_computed: Counter,
    pub(super) gradients_dropped: Family<Why, Counter>,
    pub step_seconds: Histogram,
    pub loss: Real,
    pub validation_accuracy: Real,
    pub recorded_step: Level,
    pub checkpoint_step: Level,
    pub checkpoint_age_seconds: Real,
    pub checkpoints: Counter,
    pub checkpoints_failed: Counter,
    pub shards_lost: Counter,
    pub(super) wait_seconds: Family<WaitLabels, Counter<f64, AtomicU64>>,
    pub(super) waiting_seconds: Family<WaitLabels, Real>,
    pub(super) peer_up: Family<Peer, Level>,
    pub(super) reconnects: Family<Peer, Counter>,
    pub callers_turned_away: Counter,
    pub(super) messages_received: Family<Kind, Counter>,
    pub(super) messages_sent: Family<Kind, Counter>,
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

/// The set of tasks that have a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskSet {
    All,
    Ps,
    Workers,
    Chief,
}

impl TaskSet {
    fn contains(self, task: TaskId) -> bool {
        match self {
            Self::All => true,
            Self::Ps => task.job == Job::Ps,
            Self::Workers => task.job == Job::Worker,
            Self::Chief => task == TaskId::CHIEF,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Ps => "ps",
            Self::Workers => "workers",
            Self::Chief => "chief",
        }
    }
}

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
        traffic: Traffic,
    ) -> (Registry, Self) {
        let mut registrar = Registrar::new(task);
        let meters = Self::register_with(&mut registrar, traffic);
        let constants = Constants::register_with(&mut registrar);
        constants.incarnation.set(incarnation.0);
        constants.training_steps.set(cluster.training_steps.0);
        constants.replicas_to_aggregate.set(cluster.sync.replicas_to_aggregate.into());
        constants.build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
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
        Self::register_with(&mut registrar, Traffic::default());
        Constants::register_with(&mut registrar);
        registrar.catalogue
    }

    #[rustfmt::skip]
    fn register_with(to: &mut Registrar, traffic: Traffic) -> Self {
        use TaskSet::{All, Chief, Ps, Workers};
        let step_seconds = Histogram::new(STEP_BUCKETS);
        let meters = Self {
            global_step: to.add("unisono_global_step", "", All, "Version of the parameters that this task has", Level::default()),
            generation: to.add("unisono_generation", "", All, "Number of the current generation; a rollback opens a new generation", Level::default()),
            updates: to.add("unisono_updates_total", "", Ps, "Updates that this ps has applied to its shard", Counter::default()),
            gradients_applied: to.add("unisono_gradients_applied_total", "", Ps, "Gradients in the applied updates: replicas_to_aggregate in each", Counter::default()),
            gradients_dropped: to.add("unisono_gradients_dropped_total", "why", Ps, "Gradients that were received and not used: stale, duplicate, fenced (of an older generation) or surplus (not among the first R)", Family::default()),
            gradients_computed: to.add("unisono_gradients_computed_total", "", Workers, "Gradients that this worker has computed", Counter::default()),
            step_seconds: to.add("unisono_step_seconds", "", All, "Seconds from one version to the next at this task", step_seconds),
            loss: to.add("unisono_loss", "", Chief, "Mean loss over the slots of the last recorded update", Real::default()),
            validation_accuracy: to.add("unisono_validation_accuracy", "", Chief, "Share of the validation examples that the newest summarized version classifies correctly; NaN before the first evaluation and with --save-summaries-secs 0", gauge_without_value()),
            recorded_step: to.add("unisono_recorded_step", "", Chief, "Every update below this step is in losses.csv", Level::default()),
            checkpoint_step: to.add("unisono_checkpoint_step", "", Chief, "Step of the newest checkpoint of this incarnation; 0 before the first", Level::default()),
            checkpoint_age_seconds: to.add("unisono_checkpoint_age_seconds", "", Chief, "Seconds since the newest checkpoint became durable, or since this incarnation started", Real::default()),
            checkpoints: to.add("unisono_checkpoints_total", "", Chief, "Checkpoints that became durable", Counter::default()),
            checkpoints_failed: to.add("unisono_checkpoints_failed_total", "", Chief, "Checkpoints that could not be written", Counter::default()),
            shards_lost: to.add("unisono_shards_lost_total", "", Chief, "Restarts of a ps that had lost its shard", Counter::default()),
            wait_seconds: to.add("unisono_wait_seconds_total", "what, of", All, "Seconds that this task has waited for another task or for its storage; a wait for several tasks counts for each of them", Family::default()),
            waiting_seconds: to.add("unisono_waiting_seconds", "what, of", All, "Seconds since the current wait began; no series while the task does not wait", Family::default()),
            peer_up: to.add("unisono_peer_up", "peer", All, "1 while this task has a session with the peer, else 0", Family::default()),
            reconnects: to.add("unisono_reconnects_total", "peer", All, "Sessions with the peer after the first one", Family::default()),
            callers_turned_away: to.add("unisono_callers_turned_away_total", "", Ps, "Callers that were refused", Counter::default()),
            messages_received: to.add("unisono_messages_received_total", "kind", All, "Messages received", Family::default()),
            messages_sent: to.add("unisono_messages_sent_total", "kind", All, "Messages sent", Family::default()),
        };
        to.add_traffic(&traffic);
        meters
    }
}

/// Returns a gauge that starts as NaN. A start value of 0 would look like a measured accuracy.
fn gauge_without_value() -> Real {
    let gauge = Real::default();
    gauge.set(f64::NAN);
    gauge
}

/// Metrics that never change during an incarnation.
struct Constants {
    incarnation: Level,
    training_steps: Level,
    replicas_to_aggregate: Level,
    build: Family<Build, Level>,
}

impl Constants {
    #[rustfmt::skip]
    fn register_with(to: &mut Registrar) -> Self {
        Self {
            incarnation: to.add("unisono_incarnation", "", TaskSet::All, "Number of this incarnation of the task, larger for each restart: usually the machine's clock in microseconds at the start", Level::default()),
            training_steps: to.add("unisono_training_steps", "", TaskSet::All, "Updates that the run makes in total", Level::default()),
            replicas_to_aggregate: to.add("unisono_replicas_to_aggregate", "", TaskSet::All, "Gradients per update", Level::default()),
            build: to.add("unisono_build_info", "version", TaskSet::All, "Always 1; the label has the version of the program", Family::default()),
        }
    }
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
        tasks: TaskSet,
        help: &'static str,
        metric: M,
    ) -> M {
        let kind = match metric.metric_type() {
            MetricType::Counter => "counter",
            MetricType::Histogram => "histogram",
            _ => "gauge",
        };
        self.catalogue.push(Entry { name, kind, labels, tasks: tasks.name(), help });
        if tasks.contains(self.task) {
            // The encoder itself appends `_total` to a counter's name, and a period to the help
            // text.
            let bare = name.strip_suffix("_total").unwrap_or(name);
            self.registry.register(bare, help, metric.clone());
        }
        metric
    }

    /// Registers the byte counters of the network. Their values are read when the metrics are
    /// requested.
    #[rustfmt::skip]
    fn add_traffic(&mut self, traffic: &Traffic) {
        let counters: [(_, _, CountOf); 4] = [
            ("unisono_bytes_received_total", "Bytes received through sockets", |all| &all.received),
            ("unisono_bytes_sent_total", "Bytes sent through sockets", |all| &all.sent),
            ("unisono_shared_bytes_received_total", "Bytes of tensors received through shared memory", |all| &all.shared_received),
            ("unisono_shared_bytes_sent_total", "Bytes of tensors sent through shared memory", |all| &all.shared_sent),
        ];
        for (name, help, count) in counters {
            self.add(name, "", TaskSet::All, help, Counted { traffic: traffic.clone(), count });
        }
    }
}

/// Selects one of the counters.
type CountOf = fn(&Counts) -> &AtomicU64;

/// A metric whose value is a counter of the network.
#[derive(Clone, Debug)]
struct Counted {
    traffic: Traffic,
    count: CountOf,
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
