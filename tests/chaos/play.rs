//! One run under one plan, from the start to the last exit code.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Heal};
use crate::plan::{Fault, Plan, Planned};
use crate::support::{Role, last_step};

/// Between two looks at how far the run is.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// For a fault to become possible, to pass, and to be recovered from, on a busy machine.
const A_FAULT_AT_MOST: Duration = Duration::from_secs(20);

/// What happened.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) n_lives: u32,
    /// Lives that were replaced while they were paused, and sent away when they woke.
    pub(crate) n_fenced: usize,
    /// Generations that began with a checkpoint.
    pub(crate) n_restored: usize,
    /// Those of them that lost no step: the checkpoint was made of what the chief held.
    pub(crate) n_without_loss: usize,
    pub(crate) took: Duration,
}

struct Play<'a> {
    folder: PathBuf,
    cluster: Cluster,
    start: Instant,
    coming: VecDeque<Planned>,
    /// What was done, line by line.
    log: String,
    heals: Vec<(Instant, Heal)>,
    /// When the last fault was done, and how far the run was.
    last: (Instant, u64),
    plan: &'a Plan,
}

/// Plays a plan in a folder, and returns when all tasks have ended well.
///
/// # Errors
/// In words, if one ends otherwise, or too early, or never.
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
            break Err(format!("it hangs: nothing for {:?}", now() - play.last.0));
        }
        pause();
    };
    let logged = fs::write(play.folder.join("faults.log"), &play.log);
    logged.expect("a file can be written");
    result
        .map_err(|why| format!("{why}\nat step {}, after\n{}", play.step(), play.last_lines()))?;
    let n_flips = plan.faults.iter().filter(|planned| planned.fault.kind() == "flip").count();
    if play.cluster.n_flipped() != n_flips {
        return Err(format!("of {n_flips} flips {} were made", play.cluster.n_flipped()));
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
    /// Does what is due; the ending, if it has come.
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
                Some(Err(format!("it has ended before {:?}", next.fault)))
            }
            Some(next) => {
                if self.is_due(&next) && self.cluster.is_ready_for(&next.fault) {
                    self.coming.pop_front();
                    self.suffer(&next.fault);
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
        // It may have gone back.
        self.last.1 = step.min(self.step());
        self.step() >= self.last.1 + next.steps || now() >= at + next.patience
    }

    fn suffer(&mut self, fault: &Fault) {
        let nth = self.plan.faults.len() - self.coming.len();
        self.note(&format!("fault {nth}: {fault:?}"));
        let heal = self.cluster.suffer(fault);
        self.heals.extend(heal.map(|(later, heal)| (now() + later, heal)));
        self.last = (now(), self.step());
    }

    fn step(&self) -> u64 {
        last_step(&self.folder.join("logdir")).unwrap_or_default()
    }

    fn note(&mut self, what: &str) {
        let (at, step) = ((now() - self.start).as_secs_f64(), self.step());
        writeln!(self.log, "{at:8.3} s, step {step}: {what}").expect("a text takes all");
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
    std::thread::sleep(LOOK_EVERY);
}
