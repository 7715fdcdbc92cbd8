//! Determines the incarnation of this process from its supervisor or the clock, and from files that
//! earlier processes left in the logdir. The core's `protocol/incarnation.rs` chooses between these
//! sources.

use anyhow::Context as _;

use crate::task_config::TaskConfig;
use unisono_core::ids::{Incarnation, Job, TaskId};
use unisono_files::checkpoint;
use unisono_files::disk::RealDisk;
use unisono_net::tcp::wall_clock;
use unisono_observe::{ledger, trace};

/// The environment variable in which a supervisor passes an incarnation to a task. The supervisor
/// passes a larger incarnation at each start.
pub const VARIABLE: &str = "UNISONO_INCARNATION";

/// Returns the microseconds of the machine's clock.
pub fn clock() -> u64 {
    u64::try_from(wall_clock().as_micros()).unwrap_or(u64::MAX)
}

/// Returns the incarnation that a supervisor has passed; `None` without a supervisor.
///
/// # Errors
/// Returns an error if the environment variable is set but is not a number.
pub fn counted() -> anyhow::Result<Option<u64>> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let value = value.to_string_lossy();
    let number = value.trim().parse();
    number.map(Some).with_context(|| {
        format!("{VARIABLE} is {value:?}, but must be a whole number from 0: correct or unset it")
    })
}

/// Returns the incarnation of the first node of this process.
pub fn first(config: &TaskConfig, given: Incarnation) -> Incarnation {
    Incarnation::first(given.0, recorded(config))
}

/// Returns the largest incarnation of a task in the files of its logdir. An unreadable file is
/// ignored here, because the code that needs the file reports the error.
fn recorded(config: &TaskConfig) -> Option<Incarnation> {
    let (logdir, task) = (&config.run.logdir, config.task);
    let of_ledger = || ledger::last_incarnation(logdir, task.index);
    let of_chief = || checkpoint::last_incarnation(&RealDisk, logdir);
    let of_trace = trace::last_incarnation(logdir, task);
    let of_ledger = (task.job == Job::Ps).then(of_ledger).flatten();
    let of_chief = (task == TaskId::CHIEF).then(of_chief).flatten();
    [of_trace, of_ledger, of_chief].into_iter().flatten().max()
}

/// Gives each process of a task a larger incarnation than the previous process, even if a clock
/// goes back. The supervisor of the task uses this counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    last: Option<Incarnation>,
}

impl Counter {
    /// Returns the incarnation of the next process, which is larger than that of the previous
    /// process. `clock` is the current time in microseconds.
    pub fn count(&mut self, clock: u64) -> Incarnation {
        let next = Incarnation::first(clock, self.last);
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_increases_although_the_clock_is_set_back() {
        let mut counter = Counter::default();
        let counts = [100, 200, 200, 50, 201, 300].map(|clock| counter.count(clock).0);
        assert_eq!(counts, [100, 200, 201, 202, 203, 300]);
    }
}
