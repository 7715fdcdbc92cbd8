//! Updates the metrics from the inputs and the effects of a node.

use std::sync::Arc;
use unisono_core::ids::{Cut, TaskId};

use super::Metrics;
use super::labels::{Kind, Peer, TaskOrStorage};
use super::meters::{ValidationAccuracy, drop_reason};
use unisono_core::host::{Observer, Turn};
use unisono_core::protocol::{Effect, Input, NetworkEvent, Report, UpdateRecord};
use unisono_core::time::Moment;

/// Updates [`Metrics`] after each input that the task's loop has handled. Once every series exists,
/// an update allocates no memory.
#[derive(Debug)]
pub struct MetricsObserver {
    metrics: Arc<Metrics>,
    /// The peers with which this task has had a session.
    known: Vec<TaskId>,
}

impl MetricsObserver {
    /// Returns an observer that updates `metrics`.
    #[must_use]
    pub const fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, known: Vec::new() }
    }

    /// Returns the gauge of the validation accuracy, for the thread that evaluates the model.
    #[must_use]
    pub fn validation_accuracy(&self) -> ValidationAccuracy {
        self.metrics.meters.validation_accuracy.clone()
    }

    fn on_report(&mut self, now: Moment, report: &Report) {
        let meters = &self.metrics.meters;
        match report {
            Report::Computed { .. } => {
                meters.gradients_computed.inc();
            }
            Report::Updated { slots, .. } => {
                meters.updates.inc();
                meters.gradients_applied.inc_by(slots.len() as u64);
            }
            Report::Dropped { verdict, .. } => {
                meters.gradients_dropped.get_or_create(&drop_reason(*verdict)).inc();
            }
            Report::PeerUp { peer } => self.on_peer_up(*peer),
            Report::PeerDown { peer, .. } => self.set_up(*peer, false),
            Report::Saved { step, .. } => {
                meters.checkpoint_step.set(step.0);
                meters.checkpoints.inc();
                self.metrics.live().on_saved(now);
            }
            Report::SaveFailed { .. } => {
                meters.checkpoints_failed.inc();
            }
            Report::ShardLost { .. } => {
                meters.shards_lost.inc();
            }
            Report::TurnedAway { .. } => {
                meters.callers_turned_away.inc();
            }
            // The metrics of waits come from `Node::standing` after each input, not from reports.
            Report::Waiting { .. } | Report::Adopted { .. } => {}
        }
    }

    fn on_peer_up(&mut self, peer: TaskId) {
        // The first session with a peer does not count as a reconnect.
        if self.known.contains(&peer) {
            let labels = Peer { peer: TaskOrStorage::Task(peer) };
            self.metrics.meters.reconnects.get_or_create(&labels).inc();
        } else {
            self.known.push(peer);
        }
        self.set_up(peer, true);
    }

    fn set_up(&self, peer: TaskId, is_up: bool) {
        self.metrics.live().peers.insert(peer, is_up);
        let labels = Peer { peer: TaskOrStorage::Task(peer) };
        self.metrics.meters.peer_up.get_or_create(&labels).set(is_up.into());
    }

    fn on_recorded(&self, UpdateRecord { cut: Cut { step, .. }, losses, .. }: &UpdateRecord) {
        // The sum is in f64, so that the mean of many slots keeps the precision of the losses.
        let sum: f64 = losses.iter().map(|(_, loss)| f64::from(*loss)).sum();
        self.metrics.meters.loss.set(sum / losses.len().max(1) as f64);
        // The metric's value is exclusive: all updates below it are recorded.
        self.metrics.meters.recorded_step.set(step.next().0);
    }
}

impl Observer for MetricsObserver {
    fn turn(&mut self, turn: &Turn<'_>) {
        let meters = &self.metrics.meters;
        if let Input::Network(NetworkEvent::Received { message, .. }) = turn.input {
            let labels = Kind { kind: message.kind() };
            meters.messages_received.get_or_create(&labels).inc();
        }
        let now = turn.now;
        // The state is updated before the effects are handled, because `on_turn` initializes times
        // that the effects later update.
        self.metrics.live().on_turn(now, |of| turn.node.standing(of), meters);
        for effect in turn.effects {
            match effect {
                Effect::Send { message, .. } => {
                    let labels = Kind { kind: message.kind() };
                    self.metrics.meters.messages_sent.get_or_create(&labels).inc();
                }
                Effect::Record(update) => self.on_recorded(update),
                Effect::Report(report) => self.on_report(now, report),
                _ => {}
            }
        }
    }
}
