//! `unisono worker`: one worker of a cluster.

use std::process::ExitCode;

use super::evaluation::{self, Evaluation};
use super::events::EventKeeper;
use super::metrics::Identity;
use super::task::{self, Reach, Watch};
use super::{Process, TaskConfig, data};
use crate::host::NoStorage;
use crate::ids::TaskId;
use crate::protocol::{Outcome, Worker};
use crate::tcp::{self, ComputeThread, FileStorage, Security};
use crate::training::{Gradients, Plan, Shapes};

/// Runs the task until the training has ended.
///
/// # Errors
/// If it cannot start, or cannot go on.
pub fn run_worker(config: TaskConfig, process: Process) -> anyhow::Result<ExitCode> {
    if !config.is_placed {
        task::check_ps_hosts(&config.cluster)?;
    }
    let run = &config.run;
    let security = Security::load(&run.security, config.task)?;
    let level = task::simd_level()?;
    let plan = Plan::new(run, data::open(run)?, level)?;
    let digest = Some(plan.data.digest().to_owned());
    let (incarnation, cluster) = (process.incarnation, task::cluster_config(run, digest));
    let identity = Identity { incarnation, cluster: cluster.clone() };
    let node = Worker::new(config.task.index, incarnation, cluster);
    let mut watch = Watch { ledger: None, events: None, identity };
    let shapes = Shapes::of_plan(&plan);
    let reach = Reach { listeners: None, security, shared_memory: run.shared_memory, shapes };
    let mut gradients = Gradients::new(&plan);
    if run.shared_memory {
        gradients.make_buffers(tcp::shareable);
    }
    let compute = move || ComputeThread::start(Box::new(gradients));
    if config.task != TaskId::CHIEF {
        let parts = || Ok((compute()?, NoStorage));
        let (outcome, reason) = task::run(&config, &process, reach, node, parts, watch)?;
        return task::exit_code(config.task, outcome, reason);
    }
    let files = task::files(&plan, run)?;
    let storage = FileStorage::open(files)?;
    let parts = || Ok((compute()?, storage));
    watch.events = EventKeeper::start(run, process.incarnation, &plan);
    let (outcome, reason) = task::run(&config, &process, reach, node, parts, watch)?;
    match &outcome {
        Outcome::Finished => {
            let evaluation = Evaluation::of_latest(&plan, &run.logdir)?;
            evaluation::print_closing_lines(&process.screen, &evaluation);
        }
        Outcome::Stopped { saved: Some(step) } => {
            let logdir = run.logdir.display();
            process.screen.err(&format!(
                "Stopped; the checkpoint of step {step} is in {logdir}. The same command goes on \
                 from there."
            ));
        }
        Outcome::Stopped { saved: None } => {
            process.screen.err("Stopped; no checkpoint was written on leaving.");
        }
        Outcome::Failed(_) => {}
    }
    task::exit_code(config.task, outcome, reason)
}
