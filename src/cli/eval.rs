//! `unisono eval`: the accuracy of checkpoints.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

use super::Process;

/// Which checkpoints, on which examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalConfig {
    /// Folder of the checkpoints.
    pub logdir: PathBuf,
    /// Folder of the IDX files; without, the built-in examples.
    pub data_dir: Option<PathBuf>,
    /// Training images that are validation; without, the data's own split.
    pub validation_size: Option<usize>,
    /// How often to look for a new checkpoint, if it is to go on.
    pub watch: Option<Duration>,
}

/// Prints the accuracy of the latest checkpoint; with `watch`, of every new one, too.
///
/// # Errors
/// If there is no usable checkpoint, or no data.
pub fn run_eval(_config: EvalConfig, _process: Process) -> anyhow::Result<ExitCode> {
    bail!("eval is not wired yet")
}
