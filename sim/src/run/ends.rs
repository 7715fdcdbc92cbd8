//! Ends a run in which not all tasks have finished: the run is given up, or tasks are left behind.
//!
//! The wall-clock watchdog is in `play.rs`, on the thread that waits for the run.

use std::collections::BTreeMap;
use std::time::Duration;

use unisono_core::TaskId;

use crate::scenario::Scenario;
use crate::world::state::State;

/// The times at which tasks started and ended, and how the run ended.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// The time at which the last incarnation of each task began.
    pub(super) began: BTreeMap<TaskId, Duration>,
    /// The time at which the first task finished.
    first_finish: Option<Duration>,
    /// The time at which the last task halted.
    pub(super) last_halt: Duration,
    /// Tasks that were still waiting at the end of the run, for a reason that the scenario permits.
    pub(super) left_behind: Vec<TaskId>,
    /// The reason why the run was given up, and the tasks that have not ended and have no permitted
    /// reason to wait. `None` if no task hangs.
    pub(super) hang: Option<String>,
}

impl Ends {
    /// Records the tasks that halted since the last call.
    pub(super) fn note_halts(&mut self, state: &mut State) {
        if let Some((is_finished, at)) = state.ended.take() {
            self.last_halt = at;
            if is_finished {
                self.first_finish = self.first_finish.or(Some(at));
            }
        }
    }

    /// Ends the run, for the reason `why`. A task that has not ended hangs, unless the task has a
    /// permitted reason to wait.
    pub(super) fn give_up(
        &mut self,
        why: &str,
        scenario: &Scenario,
        state: &State,
        final_save: Option<Duration>,
    ) {
        // A link that breaks silently is noticed only after one heartbeat timeout. If the run ends
        // within that time, a task at an end of the link may find that all other tasks have left.
        let unnoticed = scenario.limits.heartbeat_timeout;
        let is_end_disturbed = final_save
            .is_some_and(|at| state.faults.last_change + unnoticed >= at)
            && !state.faults.is_untouched();
        // A task that starts after another task has finished may find no task that reports the end
        // of the run. Such a task behaves correctly if it waits and reports its wait.
        let comes_late = |task: &TaskId| {
            let began = self.began.get(task).copied().unwrap_or_default();
            self.first_finish.is_some_and(|end| began >= end)
        };
        let (excused, hanging): (Vec<_>, Vec<_>) =
            state.lives.keys().copied().partition(|task| is_end_disturbed || comes_late(task));
        if hanging.is_empty() {
            self.left_behind = excused;
        } else {
            self.hang = Some(format!("{why}; still running: {}", listed(&hanging)));
        }
    }
}

/// Returns the reason to give up the run if the run has reached a limit, and otherwise `None`.
pub(super) fn reached_limit(scenario: &Scenario, state: &State) -> Option<String> {
    let limits = scenario.sim;
    if state.n_events >= limits.max_events {
        return Some(format!("the limit of {} events is reached", limits.max_events));
    }
    if state.now >= limits.max_virtual_time {
        let limit = limits.max_virtual_time;
        return Some(format!("the limit of {limit:?} of virtual time is reached"));
    }
    // A run that hangs never runs out of events, because heartbeats go on for ever. So the time
    // `liveness` is counted from the last change of a fault or the last planned start. This limit
    // does not apply while a fault is active that will end later.
    let last_start = scenario.start.values().copied().max().unwrap_or_default();
    let healed = state.faults.last_change.max(last_start);
    if !state.faults.any_will_end() && state.now >= healed + scenario.liveness {
        let liveness = scenario.liveness;
        return Some(format!(
            "the run did not end within {liveness:?} after the last fault and the last start"
        ));
    }
    None
}

/// Lists the names of the first tasks, and counts the other tasks.
fn listed(tasks: &[TaskId]) -> String {
    /// Maximum number of names, so that the report of a cluster of a thousand tasks stays readable.
    const MOST_NAMES: usize = 12;
    let names: Vec<_> = tasks.iter().take(MOST_NAMES).map(ToString::to_string).collect();
    match tasks.len().saturating_sub(MOST_NAMES) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
