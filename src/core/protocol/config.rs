//! The cluster's configuration, which every node gets when it is created.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Slot, Step, TaskId};
use crate::protocol::settings::Settings;
use crate::train_config::Sync;

/// The cluster's configuration. Only `data` differs between the tasks.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The number of parameter servers, at least 1.
    pub n_ps: u32,
    /// The numbers of workers and of gradients per update.
    pub sync: Sync,
    /// The number of updates of the run, which equals the number of the last version.
    pub training_steps: Step,
    /// Every setting that influences the computed numbers. Two tasks compare their settings when
    /// they connect.
    pub settings: Settings,
    /// The digest of the training data, or `None` on a ps, which has no data.
    pub data: Option<String>,
    /// The timeouts and intervals.
    pub limits: Limits,
}

impl ClusterConfig {
    /// Returns all parameter servers, ascending.
    pub fn all_ps(&self) -> impl Iterator<Item = TaskId> + use<> {
        (0..self.n_ps).map(TaskId::ps)
    }

    /// Returns all slots of one step, ascending.
    pub fn all_slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.sync.slots_per_step()).map(Slot)
    }

    /// Returns the slots that a worker computes in each step, ascending. These slots are congruent
    /// to the worker's number modulo the number of workers.
    pub fn slots_of(
        &self,
        worker: TaskId,
    ) -> impl DoubleEndedIterator<Item = Slot> + Clone + use<> {
        (worker.index..self.sync.slots_per_step())
            .step_by(self.sync.total_num_replicas as usize)
            .map(Slot)
    }

    /// Returns the worker that computes a slot.
    #[must_use]
    pub const fn worker_of(&self, slot: Slot) -> TaskId {
        TaskId::worker(slot.0 % self.sync.total_num_replicas)
    }

    /// Returns whether version `step` is the last version, which contains all updates of the run
    /// (rule 10).
    #[must_use]
    pub const fn is_last(&self, step: Step) -> bool {
        // The comparison is `>=`, because a faulty peer may send a step beyond the last one. No
        // task may start a computation at such a step.
        step.0 >= self.training_steps.0
    }

    /// Returns whether R < N: an update uses fewer gradients than there are workers. If so, the
    /// order in which gradients arrive decides which slots an update uses (rule 2).
    #[must_use]
    pub const fn has_backup_workers(&self) -> bool {
        !self.sync.is_determined()
    }
}

/// The timeouts and intervals of the protocol. These values do not influence the result of the
/// training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A task that has sent nothing on a link for this time sends a heartbeat.
    pub heartbeat_interval: Duration,
    /// A peer that has sent nothing for this time counts as lost, and its link is closed.
    pub heartbeat_timeout: Duration,
    /// The pause between the first failed call to a peer and the next call. Each further failure
    /// doubles the pause, up to `reconnect_max`.
    pub reconnect_min: Duration,
    /// The longest pause between two calls.
    pub reconnect_max: Duration,
    /// A task that has waited for this time reports the wait, and reports the wait again at 2×, 4×,
    /// … this time (rule 9).
    pub report_after: Duration,
    /// A task that has waited for this time ends the run (rule 9). The value [`Self::NEVER`]
    /// disables the limit.
    pub give_up_after: Duration,
    /// The maximum time for which a task stays after it has learned of the run's end. Meanwhile,
    /// the task informs the peers that may not know of the end.
    pub linger: Duration,
    /// The maximum time between a stop request and the end of the chief. Within this time, the
    /// chief saves a checkpoint.
    pub stop_timeout: Duration,
    /// The time between two checkpoints.
    pub save_interval: Duration,
    /// The pause between two attempts to write the final checkpoint.
    pub final_save_retry: Duration,
}

impl Limits {
    /// One year, which stands for "never", because no run lasts that long. Timers therefore need no
    /// special case for "never".
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
            // A peer that does not know of the run's end may have lost its link. `linger` leaves
            // enough time to notice the lost link (10 s), to call again (at most 1 s later), and to
            // repeat the message.
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
    fn duration_that_never_ends_is_stored_as_one_year() {
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
