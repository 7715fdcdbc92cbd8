//! `unisono eval`: the accuracy of checkpoints.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::evaluation::Evaluation;
use super::output::PercentG;
use super::stop::StopRequests;
use super::{Process, data, task};
use crate::config::RunConfig;
use crate::data::Dataset;
use crate::host::Clock as _;
use crate::ids::Step;
use crate::model::SimdLevel;
use crate::tcp::RealClock;

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
    /// The step whose checkpoint is the last to wait for.
    pub until: Option<Step>,
    /// What was said of the cluster, and does not count.
    pub notes: Vec<String>,
}

impl EvalConfig {
    /// Every checkpoint of a run, until it is over.
    #[must_use]
    pub fn of_run(run: RunConfig) -> Self {
        Self {
            watch: Some(Self::LOOK_EVERY),
            until: Some(Step(run.train.training_steps)),
            logdir: run.logdir,
            data_dir: run.data_dir,
            validation_size: run.validation_size,
            notes: Vec::new(),
        }
    }

    /// As the book's `mnist_eval`.
    const LOOK_EVERY: Duration = Duration::from_secs(10);
}

/// Prints the accuracy of the latest checkpoint; with `watch`, of every new one, too.
///
/// # Errors
/// If there is no usable checkpoint, or no data.
pub fn run_eval(config: EvalConfig, process: Process) -> anyhow::Result<ExitCode> {
    let data = data::open_at(config.data_dir.as_deref(), config.validation_size)?;
    let level = task::simd_level()?;
    match config.watch {
        None => {
            let found = print_latest(&config, &data, level, None, &process)?;
            Ok(if found.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(interval) => watch(&config, &data, level, interval, &process),
    }
}

/// Prints the latest checkpoint's accuracy, unless it is that of `seen`. Returns its step.
fn print_latest(
    config: &EvalConfig,
    data: &Dataset,
    level: SimdLevel,
    seen: Option<Step>,
    process: &Process,
) -> anyhow::Result<Option<Step>> {
    let Some(evaluation) = Evaluation::latest(&config.logdir, data, level)? else {
        process.screen.out(&format!("No checkpoint file found in {}", config.logdir.display()));
        return Ok(None);
    };
    let Evaluation { step, validation, test, other_data, .. } = evaluation;
    if let (None, Some(digest)) = (seen, other_data) {
        tracing::warn!(
            "the accuracy is that on {}, with the digest {}, and the checkpoint was trained on data \
             with the digest {digest}: give its --data-dir and --validation-size, if that is not meant",
            data.name(),
            data.digest()
        );
    }
    if seen != Some(step) {
        let (validation, test) = (PercentG::new(validation), PercentG::new(test));
        process.screen.out(&format!(
            "After {step} training step(s), validation accuracy = {validation}, test accuracy = \
             {test}"
        ));
    }
    Ok(Some(step))
}

fn watch(
    config: &EvalConfig,
    data: &Dataset,
    level: SimdLevel,
    interval: Duration,
    process: &Process,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = RealClock::start();
        let mut stop = StopRequests::listen(false)?;
        let mut seen = None;
        loop {
            seen = print_latest(config, data, level, seen, process)?.or(seen);
            if config.until.is_some_and(|until| seen >= Some(until)) {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::select! {
                reason = stop.next() => return Ok(reason.exit_code()),
                () = clock.sleep_until(clock.now() + interval) => {}
            }
        }
    })
}
