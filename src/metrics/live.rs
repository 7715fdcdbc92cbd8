//! Where a task stands at this moment: what it waits for, since when, and whether it is well.

use std::collections::BTreeMap;
use std::time::Duration;

use super::labels::{WaitLabels, Whose};
use super::meters::Meters;
use unisono_core::ids::{Cut, Job, TaskId};
use unisono_core::protocol::{ClusterConfig, Standing, Wait};
use unisono_core::time::Moment;

/// Yes, or no with the reason in one line.
pub type Answer = Result<(), String>;

/// Where a task stands.
#[derive(Debug)]
pub(super) struct Live {
    job: Job,
    /// How long the loop may stand still: so long its peers would wait for a sign of life.
    longest_turn: Duration,
    /// When the loop turned last; `None` before it has begun.
    turned: Option<Moment>,
    /// The version it is at, and since when.
    cut: Option<(Cut, Moment)>,
    wait: Option<Wait>,
    /// Of whom.
    of: Vec<Whose>,
    /// Until when waits are in the counters.
    charged: Moment,
    /// When a checkpoint was saved last, or the loop began.
    saved: Moment,
    /// The tasks that this one calls, or that call it, and whether a session with each is up.
    pub(super) peers: BTreeMap<TaskId, bool>,
}

impl Live {
    pub(super) fn new(task: TaskId, cluster: &ClusterConfig) -> Self {
        Self {
            job: task.job,
            longest_turn: cluster.limits.heartbeat_timeout,
            turned: None,
            cut: None,
            wait: None,
            of: Vec::new(),
            charged: Moment::default(),
            saved: Moment::default(),
            peers: super::meters::peers_of(task, cluster).map(|peer| (peer, false)).collect(),
        }
    }

    /// The loop has turned: the task stands elsewhere now. `standing` names those it waits for.
    pub(super) fn on_turn(
        &mut self,
        now: Moment,
        standing: impl FnOnce(&mut dyn FnMut(TaskId)) -> Standing,
        meters: &Meters,
    ) {
        self.charge(now, meters);
        if self.turned.replace(now).is_none() {
            (self.charged, self.saved) = (now, now);
        }
        self.of.clear();
        let of = &mut self.of;
        let Standing { cut, wait } = standing(&mut |task| of.push(Whose::Task(task)));
        if wait.is_some() && self.of.is_empty() {
            self.of.push(Whose::Storage);
        }
        self.wait = wait;
        if let Some(cut) = cut {
            self.on_cut(now, cut, meters);
        }
    }

    fn on_cut(&mut self, now: Moment, cut: Cut, meters: &Meters) {
        match self.cut {
            Some((before, _)) if before == cut => return,
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
        self.saved = now;
    }

    /// Puts what was waited since the last time into the counters.
    fn charge(&mut self, now: Moment, meters: &Meters) {
        let secs = (now - self.charged).as_secs_f64();
        self.charged = now;
        if let Some(wait) = self.wait {
            for &of in &self.of {
                let labels = WaitLabels { what: wait.what.name(), of };
                meters.wait_seconds.get_or_create(&labels).inc_by(secs);
            }
        }
    }

    /// Brings up to date what changes while nothing happens.
    pub(super) fn refresh(&mut self, now: Moment, meters: &Meters) {
        self.charge(now, meters);
        meters.checkpoint_age_seconds.set((now - self.saved).as_secs_f64());
        meters.waiting_seconds.clear();
        if let Some(wait) = self.wait {
            for &of in &self.of {
                let labels = WaitLabels { what: wait.what.name(), of };
                let waited = (now - wait.since).as_secs_f64();
                meters.waiting_seconds.get_or_create(&labels).set(waited);
            }
        }
    }

    pub(super) fn health(&self, now: Moment) -> Answer {
        match self.turned {
            None => Err("the task has not begun".to_owned()),
            Some(turned) if now - turned > self.longest_turn => {
                Err(format!("the loop stands still for {:.1} s", (now - turned).as_secs_f64()))
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
                let away = self.peers.iter().find(|(_, is_up)| !**is_up);
                match (away, self.cut) {
                    (Some((ps, _)), _) => Err(format!("there is no session with {ps}")),
                    (None, None) => Err("no whole version of the parameters has come".to_owned()),
                    (None, Some(_)) => Ok(()),
                }
            }
        }
    }
}
