//! `unisono worker`: one worker of a cluster.

use std::process::ExitCode;

use anyhow::bail;

use super::{Process, TaskConfig};

/// Runs the task until the training has ended.
///
/// # Errors
/// If it cannot start, or cannot go on.
pub fn run_worker(config: TaskConfig, _process: Process) -> anyhow::Result<ExitCode> {
    bail!("{} is not wired yet", config.task)
}
