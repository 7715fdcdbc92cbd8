//! `unisono reference`: the run in one plain loop.

use std::process::ExitCode;

use anyhow::bail;

use super::Process;
use crate::config::RunConfig;

/// Computes the run, and writes the losses and the checkpoint that a cluster would.
///
/// # Errors
/// If the data or the files are not usable.
pub fn run_reference(_config: RunConfig, _process: Process) -> anyhow::Result<ExitCode> {
    bail!("reference is not wired yet")
}
