//! Computes the accuracy of a checkpoint on the validation and the test examples.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use unisono_config::{RunConfig, SettingsError};
use unisono_core::floats::Floats;
use unisono_core::ids::Step;
use unisono_core::train_config::Placement;
use unisono_files::checkpoint::{Checkpoint, newest_valid};
use unisono_files::disk::RealDisk;
use unisono_learn::Workload;
use unisono_learn::data::{Dataset, Examples};
use unisono_learn::model::update::MOVING_AVERAGE;
use unisono_learn::model::{Layout, Model, Parameters, SimdLevel, accuracy};
use unisono_learn::training::{Plan, UNRECORDED};
use unisono_terminal::output::{PercentG, Screen};

/// The accuracies of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The step of the checkpoint.
    pub step: Step,
    /// The path of the checkpoint.
    pub path: PathBuf,
    /// Whether the evaluation used the moving averages of the variables instead of the variables.
    pub averaged: bool,
    /// The digest of the checkpoint's training data; `None` if the evaluation used the same data,
    /// or if the checkpoint has no digest.
    pub other_data: Option<String>,
    /// The accuracy on the validation data, from 0 to 1.
    pub validation: f64,
    /// The accuracy on the test data, from 0 to 1.
    pub test: f64,
}

impl Evaluation {
    /// Evaluates the latest checkpoint of a run.
    ///
    /// # Errors
    /// Returns an error if there is no checkpoint, or its model does not fit the data.
    pub fn of_latest(workload: &Workload, plan: &Plan, logdir: &Path) -> anyhow::Result<Self> {
        let found = latest_checkpoint(logdir)?;
        let found =
            found.with_context(|| format!("there is no checkpoint in {}", logdir.display()))?;
        Self::of_checkpoint(workload, found, &plan.data, plan.level())
    }

    /// Evaluates a checkpoint. If the checkpoint contains moving averages, the evaluation uses
    /// them, as the original program `mnist_eval` does.
    ///
    /// # Errors
    /// Returns an error if the model of the checkpoint does not fit the data.
    pub fn of_checkpoint(
        workload: &Workload,
        (path, checkpoint): (PathBuf, Checkpoint),
        data: &Dataset,
        level: SimdLevel,
    ) -> anyhow::Result<Self> {
        let mut network = Network::new(workload, &checkpoint, data, level)
            .with_context(|| format!("checkpoint {}", path.display()))?;
        Ok(Self {
            step: checkpoint.step,
            path,
            averaged: network.averaged,
            other_data: checkpoint.data.filter(|digest| digest != data.digest()),
            validation: network.accuracy(&data.validation),
            test: network.accuracy(&data.test),
        })
    }
}

/// Returns the newest valid checkpoint of a folder; `None` if the folder contains no checkpoints.
/// Logs newer checkpoints that are damaged.
///
/// # Errors
/// Returns an error if there are checkpoints, but none is valid.
pub fn latest_checkpoint(logdir: &Path) -> anyhow::Result<Option<(PathBuf, Checkpoint)>> {
    let newest = newest_valid(&RealDisk, logdir)?;
    newest.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(newest.found)
}

/// Returns the configuration of the run that wrote a checkpoint, as far as it affects tensors. The
/// rest has its defaults, because a checkpoint does not record the number of ps, for example.
///
/// # Errors
/// If the settings are not of this version of the program.
pub fn run_of(checkpoint: &Checkpoint) -> Result<RunConfig, SettingsError> {
    let unrecorded = RunConfig::default().settings().only(&UNRECORDED);
    RunConfig::from_settings(&checkpoint.settings.or(&unrecorded))
}

/// Prints the last lines of a run.
pub fn print_closing_lines(screen: &Screen, evaluation: &Evaluation) {
    let Evaluation { step, path, averaged, validation, test, .. } = evaluation;
    let with = if *averaged { " with the moving averages" } else { "" };
    let (validation, test) = (PercentG::new(*validation), PercentG::new(*test));
    screen.out(&format!(
        "After {step} training steps, validation accuracy = {validation}, test accuracy = \
         {test}{with}."
    ));
    screen.out(&format!("The checkpoint is {}.", path.display()));
}

/// The model of a checkpoint, with the values of the checkpoint.
struct Network {
    model: Box<dyn Model>,
    layout: Layout,
    shards: Vec<Floats>,
    averaged: bool,
}

impl Network {
    fn new(
        workload: &Workload,
        checkpoint: &Checkpoint,
        data: &Dataset,
        level: SimdLevel,
    ) -> anyhow::Result<Self> {
        let model = workload.model(&run_of(checkpoint)?, data, level)?;
        let average = |name: &str| format!("{name}/{MOVING_AVERAGE}");
        let averaged =
            model.variables().iter().all(|v| checkpoint.tensors.contains_key(&average(&v.name)));
        let mut values = Vec::new();
        for variable in model.variables() {
            let name = if averaged { average(&variable.name) } else { variable.name.clone() };
            let tensor = checkpoint.tensors.get(&name);
            let tensor = tensor.with_context(|| format!("it has no tensor {name}"))?;
            ensure!(
                tensor.shape() == variable.shape,
                "its tensor {name} has shape {:?}, but the model has {:?} on data with {} features \
                 and {} classes: give the --data-dir of its training",
                tensor.shape(),
                variable.shape,
                data.train.n_features(),
                data.train.n_classes()
            );
            values.push(variable.array(tensor.values().to_vec()));
        }
        let layout = Layout::new(model.variables(), 1, Placement::Even);
        let shards = layout.split(&values);
        Ok(Self { model, layout, shards, averaged })
    }

    fn accuracy(&mut self, examples: &Examples) -> f64 {
        accuracy(&mut *self.model, Parameters::new(&self.layout, &self.shards), examples)
    }
}
