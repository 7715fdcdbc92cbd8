//! What a task tells of itself to those who watch it: counters for Prometheus, and whether it is
//! well.
//!
//! All of it hangs on the observer of the loop, and nothing depends on it: see `docs/monitoring.md`.

mod callers;
#[cfg(test)]
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

/// What is known of one task, shared by the one who counts and those who ask.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    meters: Meters,
    live: Mutex<Live>,
}

impl Metrics {
    /// Of a task in a life of its own; `traffic` is what its network counts.
    #[must_use]
    pub fn new(
        task: TaskId,
        incarnation: Incarnation,
        cluster: &ClusterConfig,
        traffic: Traffic,
    ) -> Arc<Self> {
        let (registry, meters) = Meters::register(task, incarnation, cluster, traffic);
        Arc::new(Self { registry, meters, live: Mutex::new(Live::new(task, cluster)) })
    }

    /// Everything, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn to_text(&self, now: Moment) -> String {
        self.live().refresh(now, &self.meters);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry).expect("a String takes all");
        text
    }

    /// `/healthz`: whether the task's loop turns.
    ///
    /// # Errors
    /// Why it is not well.
    pub fn health(&self, now: Moment) -> Answer {
        self.live().health(now)
    }

    /// `/readyz`: whether the task does what it is there for.
    ///
    /// # Errors
    /// Why it does not.
    pub fn readiness(&self) -> Answer {
        self.live().readiness()
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("nobody panics with it")
    }
}

#[cfg(test)]
mod tests;
