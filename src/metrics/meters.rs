//! Every metric there is, once: its name, its text, and the handle that is counted with.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::labels::{Build, Kind, Peer, WaitLabels, Whose, Why};
use unisono_core::ids::{Incarnation, Job, TaskId};
use unisono_core::protocol::{ClusterConfig, Verdict};
use unisono_net::tcp::{Counts, Traffic};

/// A number that is set.
type Level = Gauge<u64, AtomicU64>;
/// Seconds, or a loss.
type Real = Gauge<f64, AtomicU64>;

/// The gauge of the validation accuracy, which the thread that evaluates sets.
pub type ValidationAccuracy = Real;

/// Of a step: from what a small model takes on one machine to where nobody would wait any more.
const STEP_BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Why gradients are not used.
pub(super) const WHY_DROPPED: [&str; 4] = ["stale", "duplicate", "fenced", "surplus"];

/// What is counted.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is described where it is registered")]
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

/// A metric as the documentation shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as Prometheus sees it.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels besides `task`.
    pub labels: &'static str,
    /// The tasks that have it.
    pub whose: &'static str,
    /// What it is.
    pub help: &'static str,
}

/// Who has a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    All,
    Ps,
    Workers,
    Chief,
}

impl Who {
    fn has(self, task: TaskId) -> bool {
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

/// The peers whose sessions a task has: workers call every ps; when R < N, the other ps call ps 0.
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

pub(super) const fn why_dropped(verdict: Option<Verdict>) -> Why {
    let why = match verdict {
        Some(Verdict::Stale) => "stale",
        Some(Verdict::Duplicate) => "duplicate",
        Some(Verdict::Fenced) => "fenced",
        None => "surplus",
    };
    Why { why }
}

impl Meters {
    /// The metrics of a task, registered and at their beginnings.
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
        for why in WHY_DROPPED {
            drop(meters.gradients_dropped.get_or_create(&Why { why }));
        }
        for peer in peers_of(task, cluster) {
            let peer = Peer { peer: Whose::Task(peer) };
            drop(meters.peer_up.get_or_create(&peer));
            drop(meters.reconnects.get_or_create(&peer));
        }
        (registrar.registry, meters)
    }

    /// Every metric there is.
    #[must_use]
    pub fn catalogue() -> Vec<Entry> {
        let mut registrar = Registrar::new(TaskId::CHIEF);
        Self::register_with(&mut registrar, Traffic::default());
        Constants::register_with(&mut registrar);
        registrar.catalogue
    }

    #[rustfmt::skip]
    fn register_with(to: &mut Registrar, traffic: Traffic) -> Self {
        use Who::{All, Chief, Ps, Workers};
        let step_seconds = Histogram::new(STEP_BUCKETS);
        let meters = Self {
            global_step: to.add("unisono_global_step", "", All, "Version of the parameters that this task is at", Level::default()),
            generation: to.add("unisono_generation", "", All, "Number of the generation that it is in; a rollback opens a new one", Level::default()),
            updates: to.add("unisono_updates_total", "", Ps, "Updates that this ps has made to its shard", Counter::default()),
            gradients_applied: to.add("unisono_gradients_applied_total", "", Ps, "Gradients in those updates: replicas_to_aggregate in each", Counter::default()),
            gradients_dropped: to.add("unisono_gradients_dropped_total", "why", Ps, "Gradients that came and were not used: stale, duplicate, fenced (of an older generation) or surplus (not among the first R)", Family::default()),
            gradients_computed: to.add("unisono_gradients_computed_total", "", Workers, "Gradients that this worker has computed", Counter::default()),
            step_seconds: to.add("unisono_step_seconds", "", All, "Seconds from one version to the next, as this task sees them", step_seconds),
            loss: to.add("unisono_loss", "", Chief, "Mean loss of the slots of the last update that is recorded", Real::default()),
            validation_accuracy: to.add("unisono_validation_accuracy", "", Chief, "Share of the validation examples that the newest summarized version classifies rightly; NaN before the first and with --save-summaries-secs 0", not_known_yet()),
            recorded_step: to.add("unisono_recorded_step", "", Chief, "Every update below this step is in losses.csv", Level::default()),
            checkpoint_step: to.add("unisono_checkpoint_step", "", Chief, "Step of the newest checkpoint of this life; 0 while there is none", Level::default()),
            checkpoint_age_seconds: to.add("unisono_checkpoint_age_seconds", "", Chief, "Seconds since that checkpoint was durable, or since this life began", Real::default()),
            checkpoints: to.add("unisono_checkpoints_total", "", Chief, "Checkpoints that are durable", Counter::default()),
            checkpoints_failed: to.add("unisono_checkpoints_failed_total", "", Chief, "Checkpoints that could not be written", Counter::default()),
            shards_lost: to.add("unisono_shards_lost_total", "", Chief, "Times that a ps came back without its shard", Counter::default()),
            wait_seconds: to.add("unisono_wait_seconds_total", "what, of", All, "Seconds that this task has waited for something of a task, or of its storage; one that waits for several counts for each", Family::default()),
            waiting_seconds: to.add("unisono_waiting_seconds", "what, of", All, "Seconds that it has been waiting now; no series while it does not wait", Family::default()),
            peer_up: to.add("unisono_peer_up", "peer", All, "1 while there is a session with the peer, else 0", Family::default()),
            reconnects: to.add("unisono_reconnects_total", "peer", All, "Sessions with the peer after the first one", Family::default()),
            callers_turned_away: to.add("unisono_callers_turned_away_total", "", Ps, "Callers that were turned away", Counter::default()),
            messages_received: to.add("unisono_messages_received_total", "kind", All, "Messages that came", Family::default()),
            messages_sent: to.add("unisono_messages_sent_total", "kind", All, "Messages that were sent", Family::default()),
        };
        to.add_traffic(&traffic);
        meters
    }
}

/// A gauge without a value: 0 would be a value.
fn not_known_yet() -> Real {
    let gauge = Real::default();
    gauge.set(f64::NAN);
    gauge
}

/// What never changes in a life.
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
            incarnation: to.add("unisono_incarnation", "", Who::All, "Number of this life of the task, larger for each: usually the microseconds of its machine's clock when it began", Level::default()),
            training_steps: to.add("unisono_training_steps", "", Who::All, "Updates to make", Level::default()),
            replicas_to_aggregate: to.add("unisono_replicas_to_aggregate", "", Who::All, "Gradients an update", Level::default()),
            build: to.add("unisono_build_info", "version", Who::All, "Always 1; the version of the program", Family::default()),
        }
    }
}

/// Registers metrics, and remembers how they are described.
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
        who: Who,
        help: &'static str,
        metric: M,
    ) -> M {
        let kind = match metric.metric_type() {
            MetricType::Counter => "counter",
            MetricType::Histogram => "histogram",
            _ => "gauge",
        };
        self.catalogue.push(Entry { name, kind, labels, whose: who.name(), help });
        if who.has(self.task) {
            // Encoding adds the suffix of a counter, and the period of a sentence.
            let bare = name.strip_suffix("_total").unwrap_or(name);
            self.registry.register(bare, help, metric.clone());
        }
        metric
    }

    /// What the network counts, where it is.
    #[rustfmt::skip]
    fn add_traffic(&mut self, traffic: &Traffic) {
        let counters: [(_, _, CountOf); 4] = [
            ("unisono_bytes_received_total", "Bytes that came through sockets", |all| &all.received),
            ("unisono_bytes_sent_total", "Bytes that went through sockets", |all| &all.sent),
            ("unisono_shared_bytes_received_total", "Bytes of tensors that were read from memory shared with the task that made them", |all| &all.shared_received),
            ("unisono_shared_bytes_sent_total", "Bytes of tensors that were left in memory shared with the task that reads them", |all| &all.shared_sent),
        ];
        for (name, help, count) in counters {
            self.add(name, "", Who::All, help, Counted { traffic: traffic.clone(), count });
        }
    }
}

/// Which of the counts.
type CountOf = fn(&Counts) -> &AtomicU64;

/// A counter that somebody else counts.
#[derive(Clone, Debug)]
struct Counted {
    traffic: Traffic,
    count: CountOf,
}

impl EncodeMetric for Counted {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let count = (self.count)(&self.traffic).load(Ordering::Relaxed);
        encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
