//! The data, the model, the layout and the update rule of a run. They are created once, from the
//! run's configuration and data.

use std::fmt;
use std::sync::Arc;

use crate::data::{BatchOrder, Dataset};
use crate::model::{Layout, Model, SimdLevel, UpdateRule, Variable};
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
    /// Creates the plan of a run whose model has these variables. Every call of `make` must return
    /// an equal model.
    pub(crate) fn new_for(
        run: &RunConfig,
        data: Arc<Dataset>,
        level: SimdLevel,
        variables: Vec<Variable>,
        make: impl Fn() -> Box<dyn Model> + Send + std::marker::Sync + 'static,
    ) -> Self {
        Self {
            rule: UpdateRule::new(&run.train, run.sync.replicas_to_aggregate, level),
            train: run.train.clone(),
            sync: run.sync,
            data,
            layout: Arc::new(Layout::new(variables, run.n_ps as usize, run.placement)),
            settings: run.settings(),
            level,
            make_model: MakeModel(Arc::new(make)),
        }
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
