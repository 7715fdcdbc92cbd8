//! Checks of the machine: its CPU, clock, limits and memory.

use std::time::Duration;
use unisono_task::setup;

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use unisono_config::RunConfig;
use unisono_core::host::Clock as _;
use unisono_learn::model::SimdLevel;
use unisono_net::tcp::{self, RealClock, wall_clock};

/// The release day of this version, 2026-11-28. A clock that shows an earlier day is wrong.
const RELEASED: Duration = Duration::from_secs(20_785 * 24 * 3600);

/// The number of readings of the monotonic clock.
const READINGS: u32 = 10_000;

/// Number of files that every process opens: its streams, sockets, data and logdir.
const OPEN_FILES: u64 = 64;
/// Number of files for each peer: its socket, and the memory that is shared with it.
const FILES_A_LINK: u64 = 20;

/// Returns the SIMD level of the run. The finding also names all SIMD levels that the CPU supports.
/// If the level cannot be determined, returns the portable one.
pub(super) fn simd() -> (SimdLevel, Finding) {
    let all: Vec<_> = SimdLevel::available().iter().map(ToString::to_string).collect();
    match setup::simd_level() {
        Ok(level) => {
            let what = format!("{level}, of {}", all.join(", "));
            (level, Finding::ok("simd", what))
        }
        Err(error) => (SimdLevel::Portable, Finding::error("simd", &error)),
    }
}

/// Checks that the monotonic clock goes forward, and that the date is plausible.
pub(super) fn clock() -> Finding {
    let clock = RealClock::start();
    let mut last = clock.now();
    for _ in 0..READINGS {
        let now = clock.now();
        if now < last {
            return Finding::fail(
                "clock",
                "the monotonic clock goes backwards",
                "this machine cannot measure how long it waits: repair its kernel or hypervisor",
            );
        }
        last = now;
    }
    judge_wall_clock(wall_clock())
}

fn judge_wall_clock(since_1970: Duration) -> Finding {
    if since_1970 < RELEASED {
        return Finding::fail(
            "clock",
            "the wall clock is earlier than the release of this program",
            "set the clock, with NTP: the validity of certificates depends on it, and a task that \
             restarts with an earlier clock looks older to its peers",
        );
    }
    Finding::ok(
        "clock",
        "goes forward, and is later than the release of this program; a difference to the clocks of \
         other machines cannot be seen from here, and no number depends on it",
    )
}

/// Checks that a process may open enough files.
pub(super) fn open_files(run: &RunConfig) -> Finding {
    // A task raises its soft limit to the hard limit, so only the hard limit is checked.
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    judge_open_files(limit, u64::from(run.n_ps) + u64::from(run.sync.total_num_replicas))
}

fn judge_open_files(limit: u64, n_tasks: u64) -> Finding {
    let wanted = OPEN_FILES + FILES_A_LINK * n_tasks;
    if limit < wanted {
        return Finding::warn(
            "open-files",
            format!("a process may open {limit} files, but may need {wanted} with {n_tasks} tasks"),
            format!("raise the limit, as with `ulimit -n {wanted}` or LimitNOFILE= of systemd"),
        );
    }
    Finding::ok("open-files", format!("a process may open {limit} files, and needs up to {wanted}"))
}

/// Checks that two processes can share memory.
pub(super) fn shared_memory() -> Finding {
    if tcp::can_share() {
        return Finding::ok("shared-memory", "tasks of this machine can share memory");
    }
    Finding::warn(
        "shared-memory",
        "this system has no memory that tasks can share (memfd_create)",
        "tasks use their sockets instead, a little slower; --shared-memory=false hides this warning",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::doctor::finding::tests::line;

    #[test]
    fn wall_clock_before_the_release_date_is_a_failure() {
        assert!(line(judge_wall_clock(Duration::ZERO)).starts_with("fail  clock  the wall clock"));
        let day = Duration::from_secs(24 * 3600);
        assert!(line(judge_wall_clock(RELEASED - day)).starts_with("fail"));
        assert!(line(judge_wall_clock(RELEASED)).starts_with("ok"));
        assert!(line(clock()).starts_with("ok"));
    }

    #[test]
    fn few_open_files_are_a_warning_with_the_needed_number() {
        let told = line(judge_open_files(256, 12));
        assert_eq!(
            told,
            "warn  open-files  a process may open 256 files, but may need 304 with 12 tasks; raise \
             the limit, as with `ulimit -n 304` or LimitNOFILE= of systemd"
        );
        assert!(line(judge_open_files(304, 12)).starts_with("ok"));
    }
}
