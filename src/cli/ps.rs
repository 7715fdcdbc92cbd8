//! `unisono ps`: one ps of a cluster.

use std::process::ExitCode;

use super::{Process, TaskConfig, task};
use crate::host::NoStorage;
use crate::model::UpdateRule;
use crate::protocol::Ps;
use crate::tcp::{self, InlineCompute};
use crate::training::Updates;

/// Runs the task until the training has ended.
///
/// # Errors
/// If it cannot start, or cannot go on.
pub fn run_ps(config: TaskConfig, mut process: Process) -> anyhow::Result<ExitCode> {
    let run = &config.run;
    let rule = UpdateRule::new(&run.train, run.sync.replicas_to_aggregate, task::simd_level()?);
    let listener = match process.listener.take() {
        Some(listener) => listener,
        None => tcp::bind(&listen_address(&config))?,
    };
    let node = Ps::new(config.task.index, task::incarnation(), task::cluster_config(run, None));
    let mut updates = Updates::new(rule, 1);
    let work = move |job| updates.work(job);
    let parts = || Ok((InlineCompute::new(Box::new(work)), NoStorage));
    let (outcome, reason) = task::run(&config, &process, Some(listener), node, parts)?;
    task::exit_code(config.task, outcome, reason)
}

fn listen_address(config: &TaskConfig) -> String {
    let own = config.cluster.address(config.task);
    config.bind.as_ref().or(own).map(ToString::to_string).unwrap_or_default()
}
