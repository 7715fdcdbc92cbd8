//! Converts a run's state to the named tensors of a checkpoint, and back. The tensors do not depend
//! on the placement of the variables on the ps.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use unisono_core::ids::{Cut, Generation, Step};

use ndarray::ArrayD;

use super::plan::Plan;
use crate::model::{Layout, SimdLevel, UpdateRule, Variable, mlp};
use unisono_config::RunConfig;
use unisono_core::floats::Floats;
use unisono_core::protocol::{Settings, ShardState, Snapshot};
use unisono_files::checkpoint::{
    Checkpoint, ReadError, SavedVariable, Saver, Shapes, Tensor, read_tensors,
};
use unisono_files::run_files::{RunFilesConfig, Taken};

/// The reason why a file of initial values cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The file cannot be read.
    #[error("{0}; give --init-from a safetensors file with all variables of the model")]
    Read(#[from] ReadError),
    /// The file lacks a variable of the model, or the variable has a different shape.
    #[error("{0}")]
    Variable(String),
}

impl Plan {
    /// Returns the state in which a new run begins. The values come from the file `init_from`. If
    /// no file is given, random values are generated from the run's seed.
    ///
    /// # Errors
    /// If the file cannot be read, or if a variable of the model is missing in the file or has a
    /// different shape.
    pub fn initial(&self, init_from: Option<&Path>) -> Result<Snapshot, InitError> {
        let values = match init_from {
            Some(path) => read_variables(&self.layout, path)?,
            None => self.model().initial_values(self.train.seed),
        };
        let shard = |(ps, parameters): (usize, Floats)| ShardState {
            auxiliary: self.rule.initial_auxiliary(&parameters),
            parameters,
            regularized: self.layout.regularized(ps),
        };
        let shards = self.layout.split(&values).into_iter().enumerate().map(shard).collect();
        Ok(Snapshot { cut: Cut { generation: Generation::default(), step: Step(0) }, shards })
    }

    /// Returns the configuration of this run's files in `logdir`.
    ///
    /// # Errors
    /// The same as of [`Self::initial`].
    pub fn files(
        &self,
        logdir: &Path,
        init_from: Option<&Path>,
    ) -> Result<RunFilesConfig, InitError> {
        Ok(self.files_from(logdir, Arc::new(self.initial(init_from)?)))
    }

    /// Returns the configuration of this run's files in `logdir`. A run that has no checkpoint
    /// begins with the state `initial`.
    #[must_use]
    pub fn files_from(&self, logdir: &Path, initial: Arc<Snapshot>) -> RunFilesConfig {
        let names = Names::new(&self.layout, &self.rule);
        let (to, from, plan) = (names.clone(), names, self.clone());
        let (settings, data) = (self.checkpoint_settings(), self.data.digest().to_owned());
        RunFilesConfig {
            logdir: logdir.to_owned(),
            max_to_keep: Saver::MAX_TO_KEEP,
            initial,
            is_determined: self.sync.is_determined(),
            allows_changes: false,
            allows_missing_losses: false,
            n_losses: self.sync.replicas_to_aggregate as usize,
            find_losses: Box::new(|_| Err("there is no ledger".to_owned())),
            to_checkpoint: Box::new(move |snapshot| to.checkpoint(snapshot, &settings, &data)),
            from_checkpoint: Box::new(move |checkpoint| {
                let changes = plan.changes_since(&checkpoint);
                plan.check_fits(&checkpoint).map_err(|why| match &changes {
                    Some(changes) => format!("{changes}; {why}"),
                    None => why,
                })?;
                Ok(Taken { snapshot: from.snapshot(&checkpoint), changes })
            }),
        }
    }
}

/// Returns the state in a checkpoint, split into the shards of a run. The function does not need
/// the training data.
///
/// # Errors
/// If the names or the shapes of the checkpoint's tensors do not match the run's model and
/// optimizer. The error text is for the user.
pub fn snapshot_of(run: &RunConfig, checkpoint: &Checkpoint) -> Result<Snapshot, String> {
    let shapes = checkpoint.shapes();
    let variables = variables_of(checkpoint, &shapes)?;
    let layout = Arc::new(Layout::new(variables, run.n_ps as usize, run.placement));
    let rule = UpdateRule::new(&run.train, run.sync.replicas_to_aggregate, SimdLevel::detect());
    let names = Names::new(&layout, &rule);
    if names.shapes() != shapes {
        return Err("its tensors do not fit the model and the optimizer of its run".to_owned());
    }
    Ok(names.snapshot(checkpoint))
}

/// Returns the variables of the model in a checkpoint. Checkpoints of version 0.1.0 do not describe
/// their variables, but are all of a multilayer perceptron.
fn variables_of(checkpoint: &Checkpoint, shapes: &Shapes) -> Result<Vec<Variable>, String> {
    if checkpoint.variables.is_empty() {
        return Ok(mlp::variables(&mlp::layer_sizes(shapes)?));
    }
    let variable = |SavedVariable { name, regularized }: &SavedVariable| {
        let shape = shapes.get(name).ok_or_else(|| format!("it has no tensor {name}"))?;
        Ok(Variable { name: name.clone(), shape: shape.clone(), regularized: *regularized })
    };
    checkpoint.variables.iter().map(variable).collect()
}

fn read_variables(layout: &Layout, path: &Path) -> Result<Vec<ArrayD<f32>>, InitError> {
    let tensors = read_tensors(path)?;
    let path = path.display();
    let variable = |variable: &Variable| {
        let (name, expected) = (&variable.name, &variable.shape);
        let tensor = tensors.get(name).ok_or_else(|| {
            InitError::Variable(format!(
                "{path} has no tensor {name}; give --init-from a file with all variables of the model"
            ))
        })?;
        let found = tensor.shape();
        if found != expected {
            return Err(InitError::Variable(format!(
                "{path} has {name} of shape {found:?}, but the model needs {expected:?}: compare \
                 the flags of the model and the data"
            )));
        }
        Ok(variable.array(tensor.values().to_vec()))
    };
    layout.variables().iter().map(variable).collect()
}

/// The names of a checkpoint's tensors. Each variable has one tensor for its values, and one for
/// each auxiliary buffer (of the optimizer and of the moving average).
#[derive(Clone, Debug)]
pub(super) struct Names {
    layout: Arc<Layout>,
    /// Suffixes of the auxiliary buffers' names, in the order of `ShardState::auxiliary`.
    auxiliary: Vec<&'static str>,
}

impl Names {
    pub(super) fn new(layout: &Arc<Layout>, rule: &UpdateRule) -> Self {
        Self { layout: Arc::clone(layout), auxiliary: rule.auxiliary_names() }
    }

    /// Returns the name and the shape of every tensor.
    pub(super) fn shapes(&self) -> Shapes {
        let mut shapes = Shapes::new();
        for variable in self.layout.variables() {
            shapes.insert(variable.name.clone(), variable.shape.clone());
            for suffix in &self.auxiliary {
                shapes.insert(format!("{}/{suffix}", variable.name), variable.shape.clone());
            }
        }
        shapes
    }

    fn checkpoint(&self, snapshot: &Snapshot, settings: &Settings, data: &str) -> Checkpoint {
        let mut tensors = BTreeMap::new();
        let parameters = buffers(snapshot, |shard| shard.parameters.clone());
        self.add(&mut tensors, "", &parameters);
        for (i, suffix) in self.auxiliary.iter().enumerate() {
            let buffers = buffers(snapshot, |shard| shard.auxiliary[i].clone());
            self.add(&mut tensors, &format!("/{suffix}"), &buffers);
        }
        let (settings, data) = (settings.clone(), Some(data.to_owned()));
        let saved = |Variable { name, regularized, .. }: &Variable| SavedVariable {
            name: name.clone(),
            regularized: *regularized,
        };
        let variables = self.layout.variables().iter().map(saved).collect();
        Checkpoint { step: snapshot.cut.step, settings, data, variables, tensors }
    }

    fn add(&self, tensors: &mut BTreeMap<String, Tensor>, suffix: &str, shards: &[Floats]) {
        for (variable, values) in self.layout.variables().iter().zip(self.layout.gather(shards)) {
            let tensor =
                Tensor::new(variable.shape.clone(), values.into_raw_vec_and_offset().0.into());
            tensors.insert(format!("{}{suffix}", variable.name), tensor);
        }
    }

    /// Splits the tensors of a checkpoint into shards.
    ///
    /// # Panics
    /// If the checkpoint lacks a tensor of [`Self::shapes`].
    fn snapshot(&self, checkpoint: &Checkpoint) -> Snapshot {
        let split = |suffix: &str| {
            let values = |variable: &Variable| {
                let tensor = &checkpoint.tensors[&format!("{}{suffix}", variable.name)];
                variable.array(tensor.values().to_vec())
            };
            self.layout.split(&self.layout.variables().iter().map(values).collect::<Vec<_>>())
        };
        let mut auxiliary: Vec<_> =
            self.auxiliary.iter().map(|suffix| split(&format!("/{suffix}")).into_iter()).collect();
        let shard = |(ps, parameters)| ShardState {
            parameters,
            auxiliary: auxiliary.iter_mut().filter_map(Iterator::next).collect(),
            regularized: self.layout.regularized(ps),
        };
        let shards = split("").into_iter().enumerate().map(shard).collect();
        Snapshot { cut: Cut { generation: Generation::default(), step: checkpoint.step }, shards }
    }
}

/// Returns one buffer of every shard. `buffer` selects it.
fn buffers(snapshot: &Snapshot, buffer: impl Fn(&ShardState) -> Floats) -> Vec<Floats> {
    snapshot.shards.iter().map(buffer).collect()
}
