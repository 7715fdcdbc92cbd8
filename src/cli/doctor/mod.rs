//! `unisono doctor`: what would keep a run from starting, or spoil it later, told before it starts.
//!
//! It takes the flags of the command that it goes before, and changes nothing that is there.

mod bits;
mod cluster;
mod files;
mod finding;
mod machine;

use std::process::ExitCode;

use self::finding::{Finding, Report};
use super::local::LocalConfig;
use super::{Process, TaskConfig};
use crate::config::{ClusterSpec, RunConfig};
use crate::ids::{Job, TaskId};
use crate::model::SimdLevel;

/// What to check, and how to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct DoctorConfig {
    /// The command that is to be run.
    pub patient: Patient,
    /// One JSON object instead of lines.
    pub json: bool,
}

/// The command that is to be run.
#[derive(Clone, Debug, PartialEq)]
pub enum Patient {
    /// `unisono ps` or `unisono worker`
    Task(Box<TaskConfig>),
    /// `unisono local`
    Local(Box<LocalConfig>),
}

impl Patient {
    const fn run(&self) -> &RunConfig {
        match self {
            Self::Task(config) => &config.run,
            Self::Local(config) => &config.run,
        }
    }

    /// The tasks that will run on this machine.
    fn tasks(&self) -> Vec<TaskId> {
        match self {
            Self::Task(config) => vec![config.task],
            Self::Local(config) => {
                let ps = (0..config.run.n_ps).map(TaskId::ps);
                ps.chain((0..config.run.sync.total_num_replicas).map(TaskId::worker)).collect()
            }
        }
    }

    /// Where the tasks of a cluster are that is not all on this machine.
    fn cluster(&self) -> Option<&ClusterSpec> {
        match self {
            Self::Task(config) => Some(&config.cluster),
            Self::Local(_) => None,
        }
    }

    fn has(&self, is_one: impl Fn(&TaskId) -> bool) -> bool {
        self.tasks().iter().any(is_one)
    }
}

/// Checks everything, whatever was wrong before. A failure if a run would fail.
#[must_use]
pub fn run_doctor(config: &DoctorConfig, process: &Process) -> ExitCode {
    let report = Report::new(findings(&config.patient));
    process.screen.out(&if config.json {
        report.to_json()
    } else {
        report.to_text(super::output::Screen::has_colours_on_stdout())
    });
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn findings(patient: &Patient) -> Vec<Finding> {
    let run = patient.run();
    let (level, simd) = machine::simd();
    let mut findings = vec![simd, bits::check(level.unwrap_or(SimdLevel::Portable))];
    findings.push(machine::clock());
    findings.push(machine::open_files(run));
    if run.shared_memory {
        findings.push(machine::shared_memory());
    }
    findings.extend(cluster::ports(patient));
    if let Some(cluster) = patient.cluster() {
        findings.push(cluster::names(cluster));
        findings.extend(cluster::peers(patient, cluster));
    }
    findings.push(cluster::security(patient));
    findings.extend(cluster::metrics(patient));
    let mut plan = None;
    if patient.has(|task| task.job == Job::Worker) {
        let (found, finding) = files::data(run, level.unwrap_or(SimdLevel::Portable));
        plan = found;
        findings.push(finding);
    }
    if patient.has(|task| *task == TaskId::CHIEF || (run.ledger && task.job == Job::Ps)) {
        let logdir = files::logdir(run);
        let is_usable = !logdir.is_failure();
        findings.push(logdir);
        findings.push(files::space(run, plan.as_ref()));
        if let Some(plan) = plan.filter(|_| is_usable && patient.has(|task| *task == TaskId::CHIEF))
        {
            findings.extend(files::checkpoint(run, &plan));
        }
    }
    findings
}
