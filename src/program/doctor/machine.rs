//! The machine: its CPU, its clock, its limits, its memory.

use crate::program::setup;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use unisono_config::RunConfig;
use unisono_core::host::Clock as _;
use unisono_learn::model::SimdLevel;
use unisono_net::tcp;
use unisono_net::tcp::{RealClock, wall_clock};

/// No clock is right that is before the day of this version, 2026-11-28.
const RELEASED: Duration = Duration::from_secs(20_785 * 24 * 3600);

/// How often the monotonic clock is read.
const READINGS: u32 = 10_000;

/// Files that a process has open whatever it does: its streams, sockets, data, logdir.
const OPEN_FILES: u64 = 64;
/// Files for each task that is talked to: its socket, and memory that is shared with it.
const FILES_A_LINK: u64 = 20;

/// The level that will be used, and what the CPU has.
pub(super) fn simd() -> (Option<SimdLevel>, Finding) {
    let all: Vec<_> = SimdLevel::available().iter().map(ToString::to_string).collect();
    match setup::simd_level() {
        Ok(level) => {
            let what = format!("{level}, of {}", all.join(", "));
            (Some(level), Finding::ok("simd", what))
        }
        Err(error) => (None, Finding::error("simd", &error)),
    }
}

/// Whether time goes forward, and is not long past.
pub(super) fn clock() -> Finding {
    let clock = RealClock::start();
    let mut last = clock.now();
    for _ in 0..READINGS {
        let now = clock.now();
        if now < last {
            return Finding::fail(
                "clock",
                "the monotonic clock goes backwards",
                "this machine cannot tell how long it waits: mend its kernel or its hypervisor",
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
            "the clock on the wall is before the day on which this program was made",
            "set it, with NTP: certificates are valid by it, and a task that restarts with an earlier \
             clock has to be told by its peers that it is not an older one",
        );
    }
    Finding::ok(
        "clock",
        "goes forward, and is not before this program was made; whether it agrees with the clocks \
         of other machines cannot be seen from here, and no number depends on that",
    )
}

/// Whether enough files can be open.
pub(super) fn open_files(run: &RunConfig) -> Finding {
    // A task raises its soft limit to the hard one.
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    judge_open_files(limit, u64::from(run.n_ps) + u64::from(run.sync.total_num_replicas))
}

fn judge_open_files(limit: u64, n_tasks: u64) -> Finding {
    let wanted = OPEN_FILES + FILES_A_LINK * n_tasks;
    if limit < wanted {
        return Finding::warn(
            "open-files",
            format!("a process may open {limit} files, and may need {wanted} with {n_tasks} tasks"),
            format!("raise it, as with `ulimit -n {wanted}` or LimitNOFILE= of systemd"),
        );
    }
    Finding::ok("open-files", format!("a process may open {limit}, and needs up to {wanted}"))
}

/// Whether there is memory that two processes can share.
pub(super) fn shared_memory() -> Finding {
    if tcp::can_share() {
        return Finding::ok("shared-memory", "tasks of this machine can share memory");
    }
    Finding::warn(
        "shared-memory",
        "this system has no memory that tasks can share (memfd_create)",
        "nothing needs mending: they use their sockets, a little slower; --shared-memory=false \
         says so",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::doctor::finding::tests::line;

    #[test]
    fn a_clock_that_nobody_has_set_is_a_failure() {
        assert!(line(judge_wall_clock(Duration::ZERO)).starts_with("fail  clock  the clock on"));
        let day = Duration::from_secs(24 * 3600);
        assert!(line(judge_wall_clock(RELEASED - day)).starts_with("fail"));
        assert!(line(judge_wall_clock(RELEASED)).starts_with("ok"));
        assert!(line(clock()).starts_with("ok"));
    }

    #[test]
    fn few_open_files_are_a_warning_with_the_number_that_is_needed() {
        let told = line(judge_open_files(256, 12));
        assert_eq!(
            told,
            "warn  open-files  a process may open 256 files, and may need 304 with 12 tasks; raise \
             it, as with `ulimit -n 304` or LimitNOFILE= of systemd"
        );
        assert!(line(judge_open_files(304, 12)).starts_with("ok"));
    }
}
