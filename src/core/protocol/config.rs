//! What every node of a cluster is told about the cluster it is in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Slot, Step, TaskId};
use crate::protocol::settings::Settings;
use crate::train_config::Sync;

/// The cluster, as the protocol sees it; the same in every task but for `data`.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Parameter servers, at least 1.
    pub n_ps: u32,
    /// Workers, and gradients an update.
    pub sync: Sync,
    /// Updates to make.
    pub training_steps: Step,
    /// Every setting that touches a number: compared when tasks meet.
    pub settings: Settings,
    /// Digest of the training data; `None` on a ps, which has none.
    pub data: Option<String>,
    /// How long to wait for what.
    pub limits: Limits,
}

impl ClusterConfig {
    /// All parameter servers, ascending.
    pub fn all_ps(&self) -> impl Iterator<Item = TaskId> + use<> {
        (0..self.n_ps).map(TaskId::ps)
    }

    /// All slots of a step, ascending.
    pub fn all_slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.sync.slots_per_step()).map(Slot)
    }

    /// The slots that a worker normally computes: those congruent to its number modulo N.
    pub fn slots_of(
        &self,
        worker: TaskId,
    ) -> impl DoubleEndedIterator<Item = Slot> + Clone + use<> {
        (worker.index..self.sync.slots_per_step())
            .step_by(self.sync.total_num_replicas as usize)
            .map(Slot)
    }

    /// The worker that normally computes a slot.
    #[must_use]
    pub const fn worker_of(&self, slot: Slot) -> TaskId {
        TaskId::worker(slot.0 % self.sync.total_num_replicas)
    }

    /// Rule 10: whether all updates are made at this version.
    #[must_use]
    pub const fn is_last(&self, step: Step) -> bool {
        step.0 >= self.training_steps.0
    }

    /// Rule 2: whether the order of arrival chooses which slots an update uses.
    #[must_use]
    pub const fn has_backup_workers(&self) -> bool {
        !self.sync.is_determined()
    }
}

/// How long to wait for what. None of it touches a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A link with nothing to say says so this often.
    pub heartbeat_interval: Duration,
    /// A peer not heard of for this long is taken for lost, and its link closed.
    pub heartbeat_timeout: Duration,
    /// The first pause before calling again; doubled at each failure.
    pub reconnect_min: Duration,
    /// The longest pause before calling again.
    pub reconnect_max: Duration,
    /// Rule 9: who waits longer says so, and again at every doubling.
    pub report_after: Duration,
    /// Who waits longer gives up, and with it the run.
    pub give_up_after: Duration,
    /// How long the end of a run waits for tasks that have not said goodbye.
    pub linger: Duration,
    /// How long a chief that was asked to stop may take to save.
    pub stop_timeout: Duration,
    /// Between checkpoints.
    pub save_interval: Duration,
    /// Between attempts to write the final checkpoint, when the disk refuses it.
    pub final_save_retry: Duration,
}

impl Limits {
    /// A year is never, and leaves no special case.
    pub const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(2),
            heartbeat_timeout: Duration::from_secs(10),
            reconnect_min: Duration::from_millis(20),
            reconnect_max: Duration::from_secs(1),
            report_after: Duration::from_secs(10),
            give_up_after: Self::NEVER,
            // Long enough to find a link dead, to call again, and to say it again.
            linger: Duration::from_secs(15),
            stop_timeout: Duration::from_secs(20),
            save_interval: Duration::from_secs(60),
            final_save_retry: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(r: u32, n: u32) -> ClusterConfig {
        ClusterConfig {
            n_ps: 1,
            sync: Sync { replicas_to_aggregate: r, total_num_replicas: n },
            training_steps: Step(1),
            settings: Settings::default(),
            data: None,
            limits: Limits::default(),
        }
    }

    #[test]
    fn never_is_a_year() {
        assert_eq!(Limits::NEVER, Duration::from_hours(365 * 24));
    }

    #[test]
    fn every_slot_belongs_to_exactly_one_worker() {
        for (r, n) in [(1, 1), (2, 2), (4, 1), (4, 2), (4, 3), (4, 4), (2, 5)] {
            let cluster = cluster(r, n);
            let mut dealt: Vec<_> = (0..n)
                .flat_map(|w| cluster.slots_of(TaskId::worker(w)).map(move |slot| (slot, w)))
                .collect();
            dealt.sort_unstable();
            let expected: Vec<_> =
                cluster.all_slots().map(|slot| (slot, cluster.worker_of(slot).index)).collect();
            assert_eq!(dealt, expected, "R = {r}, N = {n}");
        }
    }
}
