//! Metrics of a task for Prometheus, and answers to health and readiness probes.
//!
//! An observer of the task's loop updates the metrics. The training does not depend on the metrics.
//! See `docs/monitoring.md`.

mod callers;
#[cfg(test)]
#[path = "../../tests/unit/metrics_documentation.rs"]
mod documentation;
mod labels;
mod live;
mod meters;
mod observer;
mod server;
pub mod text;

pub use live::Answer;
pub use meters::{Entry, Meters, ValidationAccuracy};
pub use observer::MetricsObserver;
pub use server::serve;

use std::sync::{Arc, Mutex, MutexGuard};

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

use self::live::Live;
use unisono_core::ids::{Incarnation, TaskId};
use unisono_core::protocol::ClusterConfig;
use unisono_core::time::Moment;
use unisono_net::tcp::Traffic;

/// The metrics and the current state of one task. The task's observer and its HTTP server share
/// this value.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    meters: Meters,
    live: Mutex<Live>,
}

impl Metrics {
    /// Creates the metrics of one incarnation of a task. `traffic` contains the byte counters of
    /// the task's network.
    #[must_use]
    pub fn new(
        task: TaskId,
        incarnation: Incarnation,
        cluster: &ClusterConfig,
        traffic: Traffic,
    ) -> Arc<Self> {
        let (registry, meters) = Meters::register(task, incarnation, cluster, &traffic);
        Arc::new(Self { registry, meters, live: Mutex::new(Live::new(task, cluster)) })
    }

    /// Returns all metrics in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn to_text(&self, now: Moment) -> String {
        // Waits and ages grow even if no event occurs, so they are updated here.
        self.live().refresh(now, &self.meters);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry).expect("writing to a String succeeds");
        text
    }

    /// Answers `/healthz`: checks that the task's loop is running.
    ///
    /// # Errors
    /// If the loop has not started, or has handled no input for `heartbeat_timeout`. The error text
    /// is one line.
    pub fn health(&self, now: Moment) -> Answer {
        self.live().health(now)
    }

    /// Answers `/readyz`: checks that the task is ready to do its work.
    ///
    /// # Errors
    /// If a ps has no state yet, or if a worker lacks a version or a session with a ps. The error
    /// text is one line.
    pub fn readiness(&self) -> Answer {
        self.live().readiness()
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("no code panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests;
