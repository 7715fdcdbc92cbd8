//! `unisono worker`: runs one worker of a cluster.

use crate::setup;
use std::process::ExitCode;

use crate::data_note;
use crate::evaluation::{self, Evaluation};
use crate::events::EventKeeper;
use crate::fresh::Scope;
use crate::metrics::Identity;
use crate::process::Process;
use crate::run::{self, Life};
use crate::task_config::TaskConfig;
use unisono_core::host::NoStorage;
use unisono_core::ids::TaskId;
use unisono_core::protocol::{Outcome, Worker};
use unisono_files::checkpoint::record_incarnation;
use unisono_files::disk::RealDisk;
use unisono_learn::Workload;
use unisono_learn::training::{Gradients, Shapes};
use unisono_net::tcp::{self, ComputeThread, FileStorage, Security};

/// Runs the task until the training has ended.
///
/// # Errors
/// If the task cannot start or cannot continue.
pub fn run_worker(
    config: TaskConfig,
    workload: &Workload,
    mut process: Process,
) -> anyhow::Result<ExitCode> {
    if !config.is_placed {
        setup::check_ps_hosts(&config.cluster)?;
    }
    let run = &config.run;
    // This comes before the data are read, so that an error in the security files is reported at
    // once.
    Security::load(&run.security, config.task)?;
    let level = setup::simd_level()?;
    let plan = workload.plan(run, level)?;
    let digest = Some(plan.data.digest().to_owned());
    let cluster = setup::cluster_config(run, digest);
    let life = |incarnation| {
        let security = Security::load(&run.security, config.task)?;
        let mut gradients = Gradients::new(&plan);
        if run.shared_memory {
            gradients.make_buffers(tcp::shareable);
        }
        anyhow::Ok(Life {
            node: Worker::new(config.task.index, incarnation, cluster.clone()),
            network: run::network(&config, None, security, Shapes::of_plan(&plan))?,
            compute: ComputeThread::start(Box::new(gradients))?,
            storage: NoStorage,
            ledger: None,
            events: None,
            identity: Identity { incarnation, cluster: cluster.clone() },
        })
    };
    if config.task != TaskId::CHIEF {
        setup::make_room(run, Scope::Task(config.task), &process)?;
        let (outcome, reason) = run::run(&config, &mut process, life)?;
        return run::exit_code(config.task, outcome, reason);
    }
    if run.fresh {
        // This comes before any file is moved, so that an error in the initial values moves
        // nothing.
        setup::files(&plan, run)?;
        setup::make_room(run, Scope::Task(config.task), &process)?;
    }
    if let Some(note) = setup::note_on_backup_workers(run) {
        process.screen.err(&note);
    }
    let (outcome, reason) = run::run(&config, &mut process, |incarnation| {
        let Life { node, network, compute, ledger, identity, .. } = life(incarnation)?;
        let storage = FileStorage::open_locked(setup::files(&plan, run)?, config.logdir_locked_by)?;
        // The incarnation is recorded under the lock, because another chief may own the logdir. It
        // is recorded before any peer learns of this incarnation.
        record_incarnation(&RealDisk, &run.logdir, incarnation)?;
        data_note::write(run, incarnation);
        let events = EventKeeper::start(run, incarnation, &plan);
        Ok(Life { node, network, compute, storage, ledger, events, identity })
    })?;
    match &outcome {
        Outcome::Finished => {
            let evaluation = Evaluation::of_latest(workload, &plan, &run.logdir)?;
            evaluation::print_closing_lines(&process.screen, &evaluation);
        }
        Outcome::Stopped { saved: Some(step) } => {
            let logdir = run.logdir.display();
            process.screen.err(&format!(
                "Stopped; the checkpoint of step {step} is in {logdir}. The same command resumes the \
                 run."
            ));
        }
        Outcome::Stopped { saved: None } => {
            process.screen.err("Stopped; no checkpoint was saved.");
        }
        Outcome::Failed(_) | Outcome::Outdated { .. } => {}
    }
    run::exit_code(config.task, outcome, reason)
}
