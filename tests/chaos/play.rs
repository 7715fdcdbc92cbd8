//! Plays one plan, from the start of the cluster to the last exit code.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Heal};
use crate::plan::{Fault, Plan, Planned};
use crate::support::{Role, last_step};

/// Interval between two looks at the run.
const POLL_INTERVAL: Duration = Duration::from_millis(4);
/// Longest time for a fault to become possible, to last, and to be recovered from, on a busy
/// machine.
const A_FAULT_AT_MOST: Duration = Duration::from_secs(20);

/// The statistics of a run.
#[derive(Debug)]
pub(crate) struct Played {
    /// Number of processes of all tasks.
    pub(crate) n_lives: u32,
    /// Number of processes that were replaced while paused, and ended after they continued.
    pub(crate) n_fenced: usize,
    /// Number of generations that began with a checkpoint.
    pub(crate) n_restored: usize,
    /// Number of those generations that lost no step, because the chief held the latest version.
    pub(crate) n_without_loss: usize,
    /// Duration of the run.
    pub(crate) took: Duration,
}

struct Play<'a> {
    folder: PathBuf,
    cluster: Cluster,
    start: Instant,
    coming: VecDeque<Planned>,
    /// One line for each fault and each end of a fault.
    log: String,
    /// The pending ends of faults, with their times.
    heals: Vec<(Instant, Heal)>,
    /// Time of the last fault, and the step of the run at that time.
    last: (Instant, u64),
    plan: &'a Plan,
}

/// Plays a plan in a folder, until all tasks have ended successfully.
///
/// # Errors
/// If a task fails, ends before the last fault, or hangs.
pub(crate) fn play(plan: &Plan, folder: PathBuf) -> Result<Played, String> {
    let start = now();
    let deadline = start + A_FAULT_AT_MOST * (3 + plan.faults.len() as u32);
    let mut play = Play {
        cluster: Cluster::start(&format!("{} --ledger", plan.flags), folder.clone()),
        folder,
        start,
        coming: plan.faults.iter().copied().collect(),
        log: String::new(),
        heals: Vec::new(),
        last: (start, 0),
        plan,
    };
    let result = loop {
        if let Some(ending) = play.look() {
            break ending;
        }
        if now() > deadline {
            break Err(format!("the run hangs: no fault for {:?}", now() - play.last.0));
        }
        pause();
    };
    let logged = fs::write(play.folder.join("faults.log"), &play.log);
    logged.expect("a file can be written");
    result
        .map_err(|why| format!("{why}\nat step {}, after\n{}", play.step(), play.last_lines()))?;
    let n_flips = plan.faults.iter().filter(|planned| planned.fault.kind() == "flip").count();
    if play.cluster.n_flipped() != n_flips {
        return Err(format!("only {} of {n_flips} flips were made", play.cluster.n_flipped()));
    }
    let chief = play.cluster.said_by(Role::Worker(0));
    Ok(Played {
        n_lives: play.cluster.n_lives(),
        n_fenced: play.cluster.n_fenced(),
        n_restored: chief.matches("Restored from ").count(),
        n_without_loss: chief.matches("no step is lost").count(),
        took: now() - start,
    })
}

impl Play<'_> {
    /// Injects the next fault and ends others if they are due. Returns the result of the run once
    /// it has ended.
    fn look(&mut self) -> Option<Result<(), String>> {
        self.heal();
        let ended = self.cluster.ended();
        if let Some((role, status)) = ended.iter().find(|(_, status)| !status.success()) {
            let said = self.cluster.said_by(*role);
            let last = said.lines().last().unwrap_or_default();
            return Some(Err(format!("{role:?} ended with {status}: {last}")));
        }
        match self.coming.front().copied() {
            None if ended.len() == self.cluster.n_tasks() => Some(Ok(())),
            None => None,
            Some(next) if !ended.is_empty() => {
                Some(Err(format!("the run has ended before {:?}", next.fault)))
            }
            Some(next) => {
                if self.is_due(&next) && self.cluster.is_ready_for(&next.fault) {
                    self.coming.pop_front();
                    self.inject(&next.fault);
                }
                None
            }
        }
    }

    fn heal(&mut self) {
        let now = now();
        let is_due = |(at, _): &mut (Instant, Heal)| *at <= now;
        let due: Vec<_> = self.heals.extract_if(.., is_due).collect();
        for (_, heal) in due {
            self.note(&format!("{heal:?}"));
            self.cluster.heal(heal);
        }
    }

    fn is_due(&mut self, next: &Planned) -> bool {
        let (at, step) = self.last;
        // A restore may have moved the run back.
        self.last.1 = step.min(self.step());
        self.step() >= self.last.1 + next.steps || now() >= at + next.at_the_latest
    }

    fn inject(&mut self, fault: &Fault) {
        let nth = self.plan.faults.len() - self.coming.len();
        self.note(&format!("fault {nth}: {fault:?}"));
        let heal = self.cluster.inject(fault);
        self.heals.extend(heal.map(|(later, heal)| (now() + later, heal)));
        self.last = (now(), self.step());
    }

    fn step(&self) -> u64 {
        last_step(&self.folder.join("logdir")).unwrap_or_default()
    }

    fn note(&mut self, what: &str) {
        let (at, step) = ((now() - self.start).as_secs_f64(), self.step());
        writeln!(self.log, "{at:8.3} s, step {step}: {what}").expect("a String accepts any text");
    }

    fn last_lines(&self) -> String {
        let lines: Vec<_> = self.log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
fn pause() {
    std::thread::sleep(POLL_INTERVAL);
}
