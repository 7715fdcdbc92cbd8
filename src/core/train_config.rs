//! The training configuration: what the loss trajectory is a function of, and the shape of the cluster.

use serde::{Deserialize, Serialize};

/// The part of the configuration that the loss trajectory is a function of (besides the data, the
/// initial values and, when R < N, the choice of slots).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Examples a batch, at least 1.
    pub batch_size: usize,
    /// Learning rate at step 0, above 0.
    pub learning_rate: f64,
    /// Factor by which the learning rate decays every `decay_steps` steps, smoothly; in (0, 1].
    pub learning_rate_decay: f64,
    /// Steps in which the learning rate decays by `learning_rate_decay`; above 0.
    pub decay_steps: f64,
    /// λ of the L2 term Σ λ·w²/2 over the weights; 0 or above.
    pub regularization_rate: f64,
    /// Decay of the exponential moving average of the variables, in (0, 1), if they are kept.
    pub moving_average_decay: Option<f64>,
    /// Updates to make, at least 1.
    pub training_steps: u64,
    /// Sizes of the hidden layers; empty is softmax regression.
    pub hidden: Vec<usize>,
    /// The rule that turns a mean gradient into an update.
    pub optimizer: Optimizer,
    /// Seed of initial values and of the order of the data.
    pub seed: u64,
    /// In which order examples are drawn.
    pub order: Order,
}

impl Default for TrainConfig {
    /// The original script's constants.
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
            optimizer: Optimizer::Sgd,
            seed: 1,
            order: Order::Shuffled,
        }
    }
}

/// The optimizers, with TensorFlow's parameters and formulas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Optimizer {
    /// `var -= lr · g`
    Sgd,
    /// `accum = momentum · accum + g; var -= lr · accum`
    Momentum {
        /// In [0, 1).
        momentum: f64,
        /// Nesterov's form: `var -= lr · g + lr · momentum · accum`.
        nesterov: bool,
    },
    /// Kingma and Ba, in TensorFlow's form with ε outside the bias correction.
    Adam {
        /// Decay of the first moment, in [0, 1).
        beta1: f64,
        /// Decay of the second moment, in [0, 1).
        beta2: f64,
        /// Added to the root of the second moment; above 0.
        epsilon: f64,
    },
}

/// In which order a slot's stream draws the training examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Each slot has its own permutation of all examples for each epoch, as TensorFlow's workers.
    Shuffled,
    /// One permutation an epoch, shared out over the slots.
    Partitioned,
    /// Rows in file order: slot s of step k takes rows ((k·S + s)·B + j) mod n.
    Sequential,
}

/// How variables are laid over the parameter servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Whole variables in creation order, as `replica_device_setter`.
    RoundRobin,
    /// Every ps an equal share of the elements, so that none has to move more than the others.
    #[default]
    Even,
}

/// How many gradients make an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// R: gradients an update, at least 1.
    pub replicas_to_aggregate: u32,
    /// N: workers, at least 1.
    pub total_num_replicas: u32,
}

impl Sync {
    /// Whether an update is what its step makes it: R >= N. Otherwise timing has a say.
    #[must_use]
    pub const fn is_determined(self) -> bool {
        self.replicas_to_aggregate >= self.total_num_replicas
    }

    /// S = max(R, N): units of work a step. With R < N the last to come are dropped.
    #[must_use]
    pub const fn slots_per_step(self) -> u32 {
        if self.replicas_to_aggregate > self.total_num_replicas {
            self.replicas_to_aggregate
        } else {
            self.total_num_replicas
        }
    }
}

/// Tasks of each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterSize {
    /// Parameter servers, at least 1.
    pub n_ps: u32,
    /// Workers, at least 1.
    pub n_workers: u32,
}

impl ClusterSize {
    /// More tasks of a job than anybody has. Keeps a number in a damaged file from asking for more
    /// time and memory than there is.
    pub const LARGEST: u32 = 1 << 16;
}
