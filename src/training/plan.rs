//! What a run computes with, derived once from its configuration and its data.

use std::sync::Arc;

use crate::config::{RunConfig, Sync, TrainConfig};
use crate::data::{BatchOrder, Dataset, DatasetError};
use crate::model::{Layout, Mlp, Model as _, SimdLevel, UpdateRule};
use crate::protocol::Settings;

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
        data.check_batch_size(run.train.batch_size)?;
        let model = mlp(&run.train, &data, level);
        let layout = Layout::new(model.variables(), run.n_ps as usize, run.placement);
        Ok(Self {
            rule: UpdateRule::new(&run.train, run.sync.replicas_to_aggregate, level),
            train: run.train.clone(),
            sync: run.sync,
            data,
            layout: Arc::new(layout),
            settings: run.settings(),
            level,
        })
    }

    /// The SIMD level to compute at.
    #[must_use]
    pub const fn level(&self) -> SimdLevel {
        self.level
    }

    /// The model, with room of its own to work in.
    #[must_use]
    pub fn model(&self) -> Mlp {
        mlp(&self.train, &self.data, self.level)
    }

    /// Which rows a slot's batch consists of.
    #[must_use]
    pub fn batch_order(&self) -> BatchOrder {
        BatchOrder::new(&self.train, self.sync, self.data.train.len())
    }
}

fn mlp(train: &TrainConfig, data: &Dataset, level: SimdLevel) -> Mlp {
    let (features, classes) = (data.train.n_features(), data.train.n_classes());
    let sizes: Vec<_> =
        std::iter::once(features).chain(train.hidden.iter().copied()).chain([classes]).collect();
    Mlp::new(&sizes, train.regularization_rate, level)
}
