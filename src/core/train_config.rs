//! The training configuration and the shape of the cluster.

use serde::{Deserialize, Serialize};

use crate::network::{Loss, Network};

/// The part of the configuration that influences the losses of a run. The losses also depend on the
/// data, on the initial values and, if R < N, on the choice of slots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// The number of examples per batch, at least 1.
    pub batch_size: usize,
    /// The learning rate at step 0, above 0.
    pub learning_rate: f64,
    /// The factor in (0, 1] by which the learning rate decays in every `decay_steps` steps. The
    /// rate decreases a little at every step.
    pub learning_rate_decay: f64,
    /// The number of steps in which the learning rate decays by the factor `learning_rate_decay`,
    /// above 0.
    pub decay_steps: f64,
    /// The factor λ of the L2 regularization term Σ λ·w²/2 over the weights, at least 0.
    pub regularization_rate: f64,
    /// The decay of the exponential moving averages of the variables, in (0, 1). `None` disables
    /// the moving averages.
    pub moving_average_decay: Option<f64>,
    /// The number of updates to make, at least 1.
    pub training_steps: u64,
    /// The sizes of the hidden layers of a multilayer perceptron. An empty list means softmax
    /// regression.
    pub hidden: Vec<usize>,
    /// The network to train; `None` for the multilayer perceptron.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The loss of the outputs.
    #[serde(default)]
    pub loss: Loss,
    /// The rule that turns a mean gradient into an update.
    pub optimizer: Optimizer,
    /// The seed of the initial values and of the order of the data.
    pub seed: u64,
    /// The order in which examples are drawn.
    pub order: Order,
}

impl Default for TrainConfig {
    /// Returns the original script's constants.
    fn default() -> Self {
        Self {
            batch_size: 100,
            learning_rate: 0.01,
            learning_rate_decay: 0.99,
            decay_steps: 600.0,
            regularization_rate: 0.0001,
            moving_average_decay: None,
            training_steps: 10_000,
            hidden: vec![500],
            network: None,
            loss: Loss::default(),
            optimizer: Optimizer::Sgd,
            seed: 1,
            order: Order::Shuffled,
        }
    }
}

/// The optimizers, with TensorFlow's parameters and formulas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Optimizer {
    /// Plain gradient descent: `var -= lr · g`.
    Sgd,
    /// Gradient descent with momentum: `accum = momentum · accum + g`, and then `var -= lr ·
    /// accum`.
    Momentum {
        /// The factor of the accumulator, in [0, 1).
        momentum: f64,
        /// Whether to use Nesterov's form, `var -= lr · g + lr · momentum · accum`.
        nesterov: bool,
    },
    /// Kingma and Ba's Adam, in TensorFlow's form, which adds ε outside the bias correction.
    Adam {
        /// The decay of the first moment, in [0, 1).
        beta1: f64,
        /// The decay of the second moment, in [0, 1).
        beta2: f64,
        /// The constant ε, above 0, that is added to the square root of the second moment.
        epsilon: f64,
    },
}

/// The order in which a slot draws the training examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Each slot has its own permutation of all examples for each epoch, like TensorFlow's workers.
    Shuffled,
    /// The slots share one permutation per epoch.
    Partitioned,
    /// All slots read the examples in the order of the file. Slot s of step k takes the rows
    /// ((k·S + s)·B + j) mod n, for j from 0 to B − 1. S is the number of slots per step, B is the
    /// batch size, and n is the number of examples.
    Sequential,
}

/// The distribution of the variables over the parameter servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Each variable is placed whole on one ps. The ps take turns in the order in which the
    /// variables are created, like with TensorFlow's `replica_device_setter`.
    RoundRobin,
    /// Every ps holds an equal share of the elements, so that all ps transfer the same amount of
    /// data.
    #[default]
    Even,
}

/// The numbers of workers and of gradients per update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// R, the number of gradients per update, at least 1.
    pub replicas_to_aggregate: u32,
    /// N, the number of workers, at least 1.
    pub total_num_replicas: u32,
}

impl Sync {
    /// Returns whether R >= N. If so, every update depends only on its step. Otherwise, an update
    /// also depends on the order in which gradients arrive.
    #[must_use]
    pub const fn is_determined(self) -> bool {
        self.replicas_to_aggregate >= self.total_num_replicas
    }

    /// Returns S = max(R, N), the number of slots per step. With R < N, an update uses R of these
    /// slots.
    #[must_use]
    pub const fn slots_per_step(self) -> u32 {
        if self.replicas_to_aggregate > self.total_num_replicas {
            self.replicas_to_aggregate
        } else {
            self.total_num_replicas
        }
    }
}

/// A part of the examples of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Portion {
    /// This many examples.
    Count(usize),
    /// This share of the examples, above 0 and below 1.
    Share(f64),
}

impl Portion {
    /// Returns the number of examples among `n`. A share is rounded down.
    #[must_use]
    pub fn of(self, n: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Share(share) => (n as f64 * share) as usize,
        }
    }
}

impl From<usize> for Portion {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

/// The number of tasks of each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterSize {
    /// The number of parameter servers, at least 1.
    pub n_ps: u32,
    /// The number of workers, at least 1.
    pub n_workers: u32,
}

impl ClusterSize {
    /// The largest number of tasks of a job. Without this limit, a damaged file could demand more
    /// time and memory than the machine has.
    pub const LARGEST: u32 = 1 << 16;
}
