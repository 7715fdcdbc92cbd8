//! What a run computes with, derived once from its configuration and its data.

use std::fmt;
use std::sync::Arc;

use crate::data::{BatchOrder, Dataset, DatasetError};
use crate::model::{Layout, Mlp, Model, SimdLevel, UpdateRule};
use unisono_config::RunConfig;
use unisono_core::protocol::Settings;
use unisono_core::train_config::{Sync, TrainConfig};

/// A run's arithmetic.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The numbers of the run.
    pub train: TrainConfig,
    /// How many gradients make an update.
    pub sync: Sync,
    /// The examples.
    pub data: Arc<Dataset>,
    /// Which ps holds what.
    pub layout: Arc<Layout>,
    /// What makes the next version.
    pub rule: UpdateRule,
    /// Every setting that touches a number.
    pub settings: Settings,
    level: SimdLevel,
    make_model: MakeModel,
}

/// Makes a run's model, with room of its own to work in.
#[derive(Clone)]
struct MakeModel(Arc<dyn Fn() -> Box<dyn Model> + Send + std::marker::Sync>);

impl fmt::Debug for MakeModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakeModel")
    }
}

impl Plan {
    /// The plan of a run on some data, computed at a SIMD level (which changes no bit).
    ///
    /// # Errors
    /// If a batch is larger than the training data.
    pub fn new(
        run: &RunConfig,
        data: impl Into<Arc<Dataset>>,
        level: SimdLevel,
    ) -> Result<Self, DatasetError> {
        let data = data.into();
        let sizes = layer_sizes(&run.train, &data);
        let rate = run.train.regularization_rate;
        let mlp = move || -> Box<dyn Model> { Box::new(Mlp::new(&sizes, rate, level)) };
        Self::of(run, data, level, MakeModel(Arc::new(mlp)))
    }

    /// As [`Self::new`], of a model of one's own: `make` makes one, always the same. Tasks train
    /// together only if theirs has the same `name`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_model(
        run: &RunConfig,
        data: impl Into<Arc<Dataset>>,
        level: SimdLevel,
        name: &str,
        make: impl Fn() -> Box<dyn Model> + Send + std::marker::Sync + 'static,
    ) -> Result<Self, DatasetError> {
        let plan = Self::of(run, data.into(), level, MakeModel(Arc::new(make)))?;
        Ok(Self { settings: plan.settings.clone().with("model", name), ..plan })
    }

    fn of(
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

    /// The SIMD level to compute at.
    #[must_use]
    pub const fn level(&self) -> SimdLevel {
        self.level
    }

    /// The model, with room of its own to work in.
    #[must_use]
    pub fn model(&self) -> Box<dyn Model> {
        (self.make_model.0)()
    }

    /// Which rows a slot's batch consists of.
    #[must_use]
    pub fn batch_order(&self) -> BatchOrder {
        BatchOrder::new(&self.train, self.sync, self.data.train.len())
    }
}

fn layer_sizes(train: &TrainConfig, data: &Dataset) -> Vec<usize> {
    let (features, classes) = (data.train.n_features(), data.train.n_classes());
    std::iter::once(features).chain(train.hidden.iter().copied()).chain([classes]).collect()
}
