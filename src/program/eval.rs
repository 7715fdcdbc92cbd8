//! `unisono eval`: prints the accuracy of checkpoints.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use unisono_task::{data_note, setup};

use anyhow::bail;

use unisono_config::RunConfig;
use unisono_core::host::Clock as _;
use unisono_core::ids::Step;
use unisono_core::train_config::Portion;
use unisono_files::checkpoint::Checkpoint;
use unisono_learn::Workload;
use unisono_learn::data::Dataset;
use unisono_learn::model::SimdLevel;
use unisono_net::tcp::RealClock;
use unisono_task::evaluation::{self, Evaluation, run_of};
use unisono_task::process::Process;
use unisono_task::stop::StopRequests;
use unisono_terminal::output::PercentG;

/// The checkpoints to evaluate, and the examples for the evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalConfig {
    /// The folder of the checkpoints.
    pub logdir: PathBuf,
    /// The folder of the IDX files; `None` for the data on which the checkpoint was trained.
    pub data_dir: Option<PathBuf>,
    /// The number of training images that are used for validation; `None` to use the same number as
    /// the training of the checkpoint.
    pub validation_size: Option<Portion>,
    /// The part of a table that is used as test examples; `None` for the default.
    pub test_size: Option<Portion>,
    /// The column of labels of a table; `None` for the default.
    pub label_column: Option<String>,
    /// The interval between checks for a new checkpoint; `None` to evaluate only the latest
    /// checkpoint.
    pub watch: Option<Duration>,
    /// The step of the last checkpoint to wait for; `None` to wait forever.
    pub until: Option<Step>,
    /// Cluster settings that a stronger source overrode; logged as warnings.
    pub notes: Vec<String>,
}

impl EvalConfig {
    /// Returns a configuration that evaluates each checkpoint of a run until the run has ended.
    #[must_use]
    pub fn of_run(run: RunConfig) -> Self {
        Self {
            watch: Some(Self::LOOK_EVERY),
            until: Some(Step(run.train.training_steps)),
            logdir: run.logdir,
            data_dir: run.data_dir,
            validation_size: run.validation_size,
            test_size: run.test_size,
            label_column: run.label_column,
            notes: Vec::new(),
        }
    }

    /// The interval between checks for a new checkpoint. The book's script `mnist_eval` uses the
    /// same interval.
    const LOOK_EVERY: Duration = Duration::from_secs(10);
}

/// Prints the accuracy of the latest checkpoint and, with `watch`, of every new checkpoint.
///
/// # Errors
/// Returns an error if no checkpoint is usable, or the data cannot be read.
pub fn run_eval(
    config: EvalConfig,
    workload: &Workload,
    process: Process,
) -> anyhow::Result<ExitCode> {
    let interval = config.watch;
    let level = setup::simd_level()?;
    let mut evaluator = Evaluator { config, workload, level, data: None, seen: None };
    match interval {
        None => {
            let found = evaluator.print_latest(&process)?;
            Ok(if found.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(interval) => evaluator.watch(interval, &process),
    }
}

/// Evaluates the checkpoints of a folder one after another.
struct Evaluator<'a> {
    config: EvalConfig,
    workload: &'a Workload,
    level: SimdLevel,
    /// The data for the previous checkpoint, and the digest of the data on which that checkpoint
    /// was trained. The evaluator keeps the data, because reading them takes longer than an
    /// evaluation.
    data: Option<(Option<String>, Dataset)>,
    /// The step of the last printed line.
    seen: Option<Step>,
}

impl Evaluator<'_> {
    /// Prints the accuracy of the latest checkpoint, unless its accuracy has already been printed.
    /// Returns the step of the checkpoint.
    fn print_latest(&mut self, process: &Process) -> anyhow::Result<Option<Step>> {
        let Some((path, checkpoint)) = evaluation::latest_checkpoint(&self.config.logdir)? else {
            let logdir = self.config.logdir.display();
            process.screen.out(&format!("No checkpoint file found in {logdir}"));
            return Ok(None);
        };
        let step = checkpoint.step;
        if self.seen == Some(step) {
            return Ok(Some(step));
        }
        if self.data.as_ref().is_none_or(|(of, _)| *of != checkpoint.data) {
            let data = self.open_data(&path, &checkpoint)?;
            self.data = Some((checkpoint.data.clone(), data));
        }
        let (_, data) = self.data.as_ref().expect("it was put there just now");
        let found = (path, checkpoint);
        let evaluation = Evaluation::of_checkpoint(self.workload, found, data, self.level)?;
        self.print(&evaluation, process);
        self.seen = Some(step);
        Ok(Some(step))
    }

    fn print(&self, evaluation: &Evaluation, process: &Process) {
        let Evaluation { step, validation, test, other_data, .. } = evaluation;
        if let (None, Some(digest), Some((_, data))) = (self.seen, other_data, &self.data) {
            tracing::warn!(
                "the accuracy is for {}, with the digest {}, but the checkpoint was trained on data \
                 with the digest {digest}: leave --data-dir and --validation-size out to evaluate \
                 the checkpoint on the data of its training",
                data.name(),
                data.digest()
            );
        }
        let (validation, test) = (PercentG::new(*validation), PercentG::new(*test));
        process.screen.out(&format!(
            "After {step} training step(s), validation accuracy = {validation}, test accuracy = {test}"
        ));
    }

    fn watch(&mut self, interval: Duration, process: &Process) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let clock = RealClock::start();
            let mut stop = StopRequests::listen(None)?;
            loop {
                let seen = self.print_latest(process)?.or(self.seen);
                if self.config.until.is_some_and(|until| seen >= Some(until)) {
                    return Ok(ExitCode::SUCCESS);
                }
                tokio::select! {
                    reason = stop.next() => return Ok(reason.exit_code()),
                    () = clock.sleep_until(clock.now() + interval) => {}
                }
            }
        })
    }

    /// Opens the data that the user named, or otherwise the data on which the checkpoint was trained.
    fn open_data(&self, path: &Path, checkpoint: &Checkpoint) -> anyhow::Result<Dataset> {
        let of_training = run_of(checkpoint)?;
        let trained = of_training.validation_size;
        let run = RunConfig {
            data_dir: self.config.data_dir.clone(),
            validation_size: self.config.validation_size.or(trained),
            test_size: self.config.test_size.or(of_training.test_size),
            label_column: self.config.label_column.clone().or(of_training.label_column),
            own: of_training.own,
            ..RunConfig::default()
        };
        if run.data_dir.is_some() {
            return Ok(self.workload.open_data(&run)?);
        }
        let of_training = RunConfig { validation_size: trained, ..run.clone() };
        let data_dir = self.folder_of(path, checkpoint, &of_training)?;
        Ok(self.workload.open_data(&RunConfig { data_dir, ..run })?)
    }

    /// Returns the folder of the data on which a checkpoint was trained; `None` for the data that
    /// the program has without a folder. `run` has the configuration of these data, but no folder.
    fn folder_of(
        &self,
        path: &Path,
        checkpoint: &Checkpoint,
        run: &RunConfig,
    ) -> anyhow::Result<Option<PathBuf>> {
        let is_trained_on = |data: &Dataset| {
            // A checkpoint without a digest, which some programs write, matches any data.
            checkpoint.data.as_deref().is_none_or(|digest| digest == data.digest())
        };
        let noted = data_note::read(&self.config.logdir)?;
        let mut why = String::new();
        if let Some(folder) = &noted {
            let run = RunConfig { data_dir: noted.clone(), ..run.clone() };
            match self.workload.open_data(&run) {
                Ok(data) if is_trained_on(&data) => return Ok(noted),
                Ok(data) => {
                    why = format!("; {} has the digest {} now", folder.display(), data.digest());
                }
                Err(error) => why = format!("; {error}"),
            }
        }
        if self.workload.open_data(run).is_ok_and(|data| is_trained_on(&data)) {
            return Ok(None);
        }
        let own = if self.workload.name().is_some() { "data" } else { "digits" };
        bail!(
            "checkpoint {} was trained on data with the digest {}, which are not the built-in {own}: \
             give --data-dir with the folder of those data{why}",
            path.display(),
            checkpoint.data.as_deref().unwrap_or("(unknown)")
        )
    }
}
