//! The incarnation that this process gives its task: from its supervisor or the clock, and from what
//! the logdir tells of earlier processes. `protocol/incarnation.rs` decides which of them counts.

use std::process::Command;

use anyhow::Context as _;

use crate::program::task_config::TaskConfig;
use unisono_core::ids::{Incarnation, Job, TaskId};
use unisono_files::checkpoint;
use unisono_files::disk::RealDisk;
use unisono_net::tcp::wall_clock;
use unisono_observe::{ledger, trace};

/// The variable with which a supervisor gives a task a larger incarnation at each start.
pub(super) const VARIABLE: &str = "UNISONO_INCARNATION";

/// The microseconds of the machine's clock.
pub(super) fn clock() -> u64 {
    u64::try_from(wall_clock().as_micros()).unwrap_or(u64::MAX)
}

/// The incarnation that a supervisor counted.
///
/// # Errors
/// If the variable is set and has no number.
pub(super) fn counted() -> anyhow::Result<Option<u64>> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let value = value.to_string_lossy();
    let number = value.trim().parse();
    number.map(Some).with_context(|| {
        format!("{VARIABLE} is {value:?}, which is no whole number from 0; unset it or correct it")
    })
}

/// The incarnation of the first node of this process.
pub(super) fn first(config: &TaskConfig, given: Incarnation) -> Incarnation {
    Incarnation::first(given.0, recorded(config))
}

/// The last incarnation of a task that the files of its logdir tell of. A file that cannot be read
/// tells nothing: whoever needs the file reports that.
fn recorded(config: &TaskConfig) -> Option<Incarnation> {
    let (logdir, task) = (&config.run.logdir, config.task);
    let of_ledger = || ledger::last_incarnation(logdir, task.index);
    let of_chief = || checkpoint::last_incarnation(&RealDisk, logdir);
    let of_trace = trace::last_incarnation(logdir, task);
    let of_ledger = (task.job == Job::Ps).then(of_ledger).flatten();
    let of_chief = (task == TaskId::CHIEF).then(of_chief).flatten();
    [of_trace, of_ledger, of_chief].into_iter().flatten().max()
}

/// Counts the lives of a task for its supervisor. A count cannot go back, as a clock can.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counter {
    last: Option<Incarnation>,
}

impl Counter {
    /// Gives the next process of the task a larger incarnation than the one before, while the clock
    /// shows `clock` microseconds.
    pub(super) fn count(&mut self, clock: u64) -> Incarnation {
        let next = Incarnation::first(clock, self.last);
        self.last = Some(next);
        next
    }
}

/// Hands an incarnation to a process that is about to start.
pub(super) fn hand_on(command: &mut Command, incarnation: Incarnation) {
    command.env(VARIABLE, incarnation.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_counts_on_when_the_clock_is_set_back() {
        let mut counter = Counter::default();
        let counts = [100, 200, 200, 50, 201, 300].map(|clock| counter.count(clock).0);
        assert_eq!(counts, [100, 200, 201, 202, 203, 300]);
    }
}
