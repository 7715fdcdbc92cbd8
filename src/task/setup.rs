//! Prepares a task: the SIMD level, the files, the hosts and the configuration of its node.

use crate::fresh::{self, Scope};
use crate::process::Process;
use anyhow::bail;
use std::net::ToSocketAddrs as _;
use unisono_audit::ledger_losses::find_losses;
use unisono_config::{ClusterSpec, RunConfig};
use unisono_core::ids::{Step, TaskId};
use unisono_core::protocol::ClusterConfig;
use unisono_core::train_config::Sync;
use unisono_files::run_files::{self, RunFilesConfig};
use unisono_learn::model::SimdLevel;
use unisono_learn::training::Plan;
use unisono_learn::training::files::InitError;

/// The environment variable that selects a SIMD level.
const SIMD_VARIABLE: &str = "UNISONO_SIMD";

/// Returns the SIMD level to use: the level that `UNISONO_SIMD` names, or otherwise the fastest
/// level of the CPU.
///
/// # Errors
/// Returns an error if the level does not exist, or this CPU lacks it.
pub fn simd_level() -> anyhow::Result<SimdLevel> {
    let value = std::env::var(SIMD_VARIABLE).ok();
    SimdLevel::from_env_value(value.as_deref()).map_err(unisono_terminal::usage)
}

/// Resolves the host name of every ps once, so that a misspelt name ends the task at once.
/// Otherwise, the task would call a misspelt name forever. The network handles later changes of a
/// name's address.
///
/// # Errors
/// Returns an error if a name has no address now.
pub fn check_ps_hosts(cluster: &ClusterSpec) -> anyhow::Result<()> {
    for (index, address) in (0..).zip(cluster.ps()) {
        let (host, port) = address.to_lookup();
        if let Err(error) = (host.as_str(), port).to_socket_addrs() {
            let task = TaskId::ps(index);
            bail!(
                "the host name {host} of {task} cannot be resolved: {error}; correct --ps-hosts, \
                 or start this task again once the name is known"
            );
        }
    }
    Ok(())
}

/// Returns the configuration of a node.
pub fn cluster_config(run: &RunConfig, data: Option<String>) -> ClusterConfig {
    ClusterConfig {
        n_ps: run.n_ps,
        sync: run.sync,
        training_steps: Step(run.train.training_steps),
        settings: run.settings(),
        data,
        limits: run.limits,
    }
}

/// Returns the configuration of the files of a run.
///
/// # Errors
/// Returns an error if the file of initial values cannot be used.
pub fn files(plan: &Plan, run: &RunConfig) -> Result<RunFilesConfig, InitError> {
    let files = plan.files(&run.logdir, run.init_from.as_deref())?;
    Ok(RunFilesConfig {
        allows_changes: run.allow_changed_settings,
        allows_missing_losses: run.allow_missing_losses,
        find_losses: find_losses(run.logdir.clone()),
        ..files
    })
}

/// With `--fresh`, moves the old run of the logdir into a subfolder, and prints the path of this
/// subfolder.
///
/// # Errors
/// Returns an error if another process uses the logdir, or the files cannot be moved.
pub fn make_room(run: &RunConfig, scope: Scope, process: &Process) -> anyhow::Result<()> {
    if !run.fresh || !run.logdir.is_dir() {
        return Ok(());
    }
    // The lock protects the chief's files, which no other task writes.
    let has_chief = matches!(scope, Scope::WholeRun | Scope::Task(TaskId::CHIEF));
    let _lock = has_chief.then(|| run_files::lock(&run.logdir)).transpose()?;
    if let Some(folder) = fresh::move_aside(run, scope)? {
        let (logdir, folder) = (run.logdir.display(), folder.display());
        process.screen.err(&format!("The old run in {logdir} was moved to {folder}."));
    }
    Ok(())
}

/// Returns a message for a user who starts a run that has already finished.
pub fn already_finished(step: Step, run: &RunConfig) -> String {
    let logdir = run.logdir.display();
    format!(
        "The run in {logdir} is already finished at step {step}; use --fresh or another --logdir."
    )
}

/// Returns a message for a user whose run depends on timing; `None` if R >= N, because such a run
/// does not depend on timing.
pub fn note_on_backup_workers(run: &RunConfig) -> Option<String> {
    if run.sync.is_determined() {
        return None;
    }
    let Sync { replicas_to_aggregate: r, total_num_replicas: n } = run.sync;
    let logdir = run.logdir.display();
    let recorded = if run.ledger {
        format!("The ledgers in {logdir} record")
    } else {
        "With --ledger the ledgers record".to_owned()
    };
    Some(format!(
        "With {r} gradients in each update of {n} workers, timing chooses the gradients, so each run \
         has different losses. {recorded} the choice, and `unisono-sim replay --ledger {logdir}` \
         computes this run again to the bit."
    ))
}
