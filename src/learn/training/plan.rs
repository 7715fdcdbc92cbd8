//! The data, the model, the layout and the update rule of a run. They are created once, from the
//! run's configuration and data.

use std::fmt;
use std::sync::Arc;

use crate::data::{BatchOrder, Dataset, DatasetError};
use crate::model::{Layout, Mlp, Model, SimdLevel, UpdateRule};
use unisono_config::RunConfig;
use unisono_core::protocol::Settings;
use unisono_core::train_config::{Sync, TrainConfig};

/// The data, the model and the update rule of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The hyperparameters.
    pub train: TrainConfig,
    /// The number of gradients per update, and the number of workers.
    pub sync: Sync,
    /// The data set.
    pub data: Arc<Dataset>,
    /// The distribution of the variables over the ps.
    pub layout: Arc<Layout>,
    /// The rule that computes the next version of a shard.
    pub rule: UpdateRule,
    /// Every setting that influences the computed numbers. Tasks compare these settings when they
    /// connect.
    pub settings: Settings,
    level: SimdLevel,
    make_model: MakeModel,
}

/// A function that creates the run's model. Each created model has its own workspace.
#[derive(Clone)]
struct MakeModel(Arc<dyn Fn() -> Box<dyn Model> + Send + std::marker::Sync>);

impl fmt::Debug for MakeModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakeModel")
    }
}

impl Plan {
    /// Creates the plan of a run that trains the multilayer perceptron on `data`. The SIMD level
    /// affects only the speed.
    ///
    /// # Errors
    /// If the batch size is 0 or larger than the number of training examples.
    pub fn new(
        run: &RunConfig,
        data: impl Into<Arc<Dataset>>,
        level: SimdLevel,
    ) -> Result<Self, DatasetError> {
        let data = data.into();
        let sizes = layer_sizes(&run.train, &data);
        let rate = run.train.regularization_rate;
        let mlp = move || -> Box<dyn Model> { Box::new(Mlp::new(&sizes, rate, level)) };
        Self::with_maker(run, data, level, MakeModel(Arc::new(mlp)))
    }

    /// Creates the plan of a run that trains the caller's own model.
    ///
    /// `make` must create an equal model on every call. `name` becomes the setting `model`, so that
    /// tasks with different names refuse to train together.
    ///
    /// # Errors
    /// The same as of [`Self::new`].
    pub fn of_model(
        run: &RunConfig,
        data: impl Into<Arc<Dataset>>,
        level: SimdLevel,
        name: &str,
        make: impl Fn() -> Box<dyn Model> + Send + std::marker::Sync + 'static,
    ) -> Result<Self, DatasetError> {
        let plan = Self::with_maker(run, data.into(), level, MakeModel(Arc::new(make)))?;
        Ok(Self { settings: plan.settings.clone().with("model", name), ..plan })
    }

    fn with_maker(
        run: &RunConfig,
        data: Arc<Dataset>,
        level: SimdLevel,
        make_model: MakeModel,
    ) -> Result<Self, DatasetError> {
        data.check_batch_size(run.train.batch_size)?;
        let variables = (make_model.0)().variables();
        let layout = Layout::new(variables, run.n_ps as usize, run.placement);
        Ok(Self {
            rule: UpdateRule::new(&run.train, run.sync.replicas_to_aggregate, level),
            train: run.train.clone(),
            sync: run.sync,
            data,
            layout: Arc::new(layout),
            settings: run.settings(),
            level,
            make_model,
        })
    }

    /// Returns the SIMD level of the run.
    #[must_use]
    pub const fn level(&self) -> SimdLevel {
        self.level
    }

    /// Creates a new model, with its own workspace.
    #[must_use]
    pub fn model(&self) -> Box<dyn Model> {
        (self.make_model.0)()
    }

    /// Returns the parameters that determine the rows of each slot's batch.
    #[must_use]
    pub fn batch_order(&self) -> BatchOrder {
        BatchOrder::new(&self.train, self.sync, self.data.train.len())
    }
}

/// Returns the layer sizes of the perceptron: the number of features, the sizes of the hidden
/// layers, and the number of classes.
fn layer_sizes(train: &TrainConfig, data: &Dataset) -> Vec<usize> {
    let (features, classes) = (data.train.n_features(), data.train.n_classes());
    std::iter::once(features).chain(train.hidden.iter().copied()).chain([classes]).collect()
}
