//! `unisono doctor`: reports problems before a run starts. The problems would prevent the run, or
//! harm it later.
//!
//! The command takes the flags of the command that it checks, and changes no files.

mod bits;
mod cluster;
mod files;
mod finding;
mod machine;
pub mod patient;

use crate::program::doctor::patient::Patient;
use std::process::ExitCode;

use self::finding::{Finding, Report};
use unisono_core::ids::{Job, TaskId};
use unisono_learn::Workload;
use unisono_task::process::Process;
use unisono_terminal::output::Screen;

/// The arguments of `unisono doctor`.
#[derive(Clone, Debug, PartialEq)]
pub struct DoctorConfig {
    /// The command to check.
    pub patient: Patient,
    /// Whether to print one JSON object instead of lines.
    pub json: bool,
}

/// Performs all checks, even after a failed check. Exits with a failure if a run would fail.
#[must_use]
pub fn run_doctor(config: &DoctorConfig, workload: &Workload, process: &Process) -> ExitCode {
    let report = Report::new(findings(&config.patient, workload));
    process.screen.out(&if config.json {
        report.to_json()
    } else {
        report.to_text(Screen::has_colours(&std::io::stdout()))
    });
    if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn findings(patient: &Patient, workload: &Workload) -> Vec<Finding> {
    let run = patient.run();
    let (level, simd) = machine::simd();
    let mut findings = vec![simd, bits::check(level)];
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
        let (found, finding) = files::data(run, workload, level);
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
