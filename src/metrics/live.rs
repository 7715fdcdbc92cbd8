//! The current state of a task: its version, its waits, its sessions and its health.

use std::collections::BTreeMap;
use std::time::Duration;

use super::labels::{TaskOrStorage, WaitLabels};
use super::meters::Meters;
use unisono_core::ids::{Cut, Job, TaskId};
use unisono_core::protocol::{ClusterConfig, Standing, Wait};
use unisono_core::time::Moment;

/// The answer to a health probe or a readiness probe. An error names the reason in one line.
pub type Answer = Result<(), String>;

/// The current state of a task.
#[derive(Debug)]
pub(super) struct Live {
    job: Job,
    /// The maximum time between two inputs of a healthy loop. Peers consider a task lost if they
    /// receive no heartbeat from it for this time.
    longest_turn: Duration,
    /// Time at which the loop last handled an input; `None` before the first input.
    last_turn: Option<Moment>,
    /// The task's version, and the time at which the task reached it.
    cut: Option<(Cut, Moment)>,
    wait: Option<Wait>,
    /// The tasks that this task waits for, or this task's own storage.
    awaited: Vec<TaskOrStorage>,
    /// The time up to which the durations of waits are included in the counters.
    counted_until: Moment,
    /// Time at which the last checkpoint was saved, or at which the loop started.
    last_save: Moment,
    /// The peers of this task. The value is `true` if this task has a session with the peer.
    pub(super) peers: BTreeMap<TaskId, bool>,
}

impl Live {
    pub(super) fn new(task: TaskId, cluster: &ClusterConfig) -> Self {
        Self {
            job: task.job,
            longest_turn: cluster.limits.heartbeat_timeout,
            last_turn: None,
            cut: None,
            wait: None,
            awaited: Vec::new(),
            counted_until: Moment::default(),
            last_save: Moment::default(),
            peers: super::meters::peers_of(task, cluster).map(|peer| (peer, false)).collect(),
        }
    }

    /// Updates the state after the loop has handled an input. `standing` returns the node's version
    /// and wait, and calls its argument with each awaited task.
    pub(super) fn on_turn(
        &mut self,
        now: Moment,
        standing: impl FnOnce(&mut dyn FnMut(TaskId)) -> Standing,
        meters: &Meters,
    ) {
        // `count_wait` must run before the wait changes, so that the time until now is added to the
        // old wait.
        self.count_wait(now, meters);
        if self.last_turn.replace(now).is_none() {
            (self.counted_until, self.last_save) = (now, now);
        }
        self.awaited.clear();
        let of = &mut self.awaited;
        let Standing { cut, wait } = standing(&mut |task| of.push(TaskOrStorage::Task(task)));
        // If a node waits, but for no task, it waits for its own storage.
        if wait.is_some() && self.awaited.is_empty() {
            self.awaited.push(TaskOrStorage::Storage);
        }
        self.wait = wait;
        if let Some(cut) = cut {
            self.on_cut(now, cut, meters);
        }
    }

    fn on_cut(&mut self, now: Moment, cut: Cut, meters: &Meters) {
        match self.cut {
            Some((before, _)) if before == cut => return,
            // Only a change to the next version shows the duration of a step. A rollback or a
            // skipped version does not.
            Some((before, since)) if before.next() == cut => {
                meters.step_seconds.observe((now - since).as_secs_f64());
            }
            _ => {}
        }
        self.cut = Some((cut, now));
        meters.global_step.set(cut.step.0);
        meters.generation.set(cut.generation.number);
    }

    pub(super) const fn on_saved(&mut self, now: Moment) {
        self.last_save = now;
    }

    /// Adds the time since the last call of this function to the counters of the current wait.
    fn count_wait(&mut self, now: Moment, meters: &Meters) {
        let secs = (now - self.counted_until).as_secs_f64();
        self.counted_until = now;
        if let Some(wait) = self.wait {
            for &of in &self.awaited {
                let labels = WaitLabels { what: wait.what.name(), of };
                meters.wait_seconds.get_or_create(&labels).inc_by(secs);
            }
        }
    }

    /// Updates the metrics that change with time, even if no event occurs.
    pub(super) fn refresh(&mut self, now: Moment, meters: &Meters) {
        self.count_wait(now, meters);
        meters.checkpoint_age_seconds.set((now - self.last_save).as_secs_f64());
        // All series are removed first. Otherwise the series of a finished wait would remain.
        meters.waiting_seconds.clear();
        if let Some(wait) = self.wait {
            for &of in &self.awaited {
                let labels = WaitLabels { what: wait.what.name(), of };
                let waited = (now - wait.since).as_secs_f64();
                meters.waiting_seconds.get_or_create(&labels).set(waited);
            }
        }
    }

    pub(super) fn health(&self, now: Moment) -> Answer {
        match self.last_turn {
            None => Err("the task's loop has not started".to_owned()),
            Some(last_turn) if now - last_turn > self.longest_turn => {
                let secs = (now - last_turn).as_secs_f64();
                Err(format!("the task's loop has handled no input for {secs:.1} s"))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn readiness(&self) -> Answer {
        match self.job {
            Job::Ps if self.cut.is_none() => {
                Err("no chief has given this ps its state yet".to_owned())
            }
            Job::Ps => Ok(()),
            Job::Worker => {
                let disconnected = self.peers.iter().find(|(_, is_up)| !**is_up);
                match (disconnected, self.cut) {
                    (Some((ps, _)), _) => Err(format!("no session with {ps}")),
                    (None, None) => {
                        Err("no complete version of the parameters has arrived".to_owned())
                    }
                    (None, Some(_)) => Ok(()),
                }
            }
        }
    }
}
