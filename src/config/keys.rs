//! Every setting once: its flag, its key in the file, its one text.
//!
//! A field is a flag (dashes) and, in the section of the same struct, a key (underscores).
//! Nothing has a value unless it was given; `[default: …]` is text, and tested to be true.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::MetricsAddress;
use super::hosts::HostList;
use super::values::{
    BatchSize, DecayRate, Examples, Fraction, Hidden, LogFormat, Named, NotNegative, OpenFraction,
    OptimizerName, Patience, Positive, ProgressMode, Replicas, Restarts, Seconds, Seed, Steps,
    Tasks,
};
use unisono_core::train_config::{Order, Placement};

/// Declares a section, and `or`, which fills what is absent from a weaker source.
macro_rules! section {
    (
        $(#[$attribute:meta])*
        $name:ident { $( $(#[$field_attribute:meta])* $field:ident: $type:ty, )* }
    ) => {
        #[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
        $(#[$attribute])*
        #[serde(default)]
        pub struct $name {
            $( $(#[$field_attribute])* pub $field: Option<$type>, )*
        }

        impl $name {
            /// What is given here, and for the rest what is given in `weaker`.
            #[must_use]
            pub fn or(self, weaker: Self) -> Self {
                Self { $( $field: self.$field.or(weaker.$field), )* }
            }
        }
    };
}

section! {
    /// `[train]`: with the cluster's size and `[sync]`, all that the loss is a function of.
    #[command(next_help_heading = "Training")]
    TrainKeys {
        /// Examples a batch [default: 100]
        #[arg(long, value_name = "N")]
        batch_size: BatchSize,
        /// Learning rate at step 0 [default: 0.01]
        #[arg(long, value_name = "RATE")]
        learning_rate: Positive,
        /// Factor that the learning rate is multiplied by, smoothly, over each decay-steps
        /// [default: 0.99]
        #[arg(long, value_name = "FACTOR")]
        learning_rate_decay: DecayRate,
        /// Steps over which learning-rate-decay is applied once [default: 600]
        #[arg(long, value_name = "STEPS")]
        decay_steps: Positive,
        /// λ of the loss term Σ λ·w²/2 over the weights; 0 for none [default: 0.0001]
        #[arg(long, value_name = "RATE")]
        regularization_rate: NotNegative,
        /// Keep moving averages of the variables with this decay, such as 0.99 [default: off]
        #[arg(long, value_name = "DECAY")]
        moving_average_decay: OpenFraction,
        /// Updates to make, counted from the first one of all [default: 10000]
        #[arg(long, value_name = "STEPS")]
        training_steps: Steps,
        /// Sizes of the hidden layers, comma-separated; "" is softmax regression [default: 500]
        #[arg(long, value_name = "SIZES")]
        hidden: Hidden,
        /// Rule that turns the mean gradient into an update [default: sgd]
        #[arg(long, value_name = "NAME")]
        optimizer: OptimizerName,
        /// For momentum: decay of the accumulated gradient [default: 0.9]
        #[arg(long, value_name = "DECAY")]
        momentum: Fraction,
        /// For momentum: look ahead, in Nesterov's form [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        nesterov: bool,
        /// For adam: decay of the first moment [default: 0.9]
        #[arg(long, value_name = "DECAY")]
        beta1: Fraction,
        /// For adam: decay of the second moment [default: 0.999]
        #[arg(long, value_name = "DECAY")]
        beta2: Fraction,
        /// For adam: added to the root of the second moment [default: 1e-8]
        #[arg(long, value_name = "NUMBER")]
        epsilon: Positive,
        /// Seed of the initial values and of the order of the data [default: 1]
        #[arg(long, value_name = "SEED")]
        seed: Seed,
        /// How a slot draws its examples: its own permutation an epoch, a share of one
        /// permutation, or rows in the order of the file [default: shuffled]
        #[arg(long, value_name = "ORDER")]
        order: Named<Order>,
    }
}

section! {
    /// `[sync]`: how many gradients make an update.
    #[command(next_help_heading = "Synchronisation")]
    SyncKeys {
        /// R: gradients an update. More than the workers: each computes several batches; fewer:
        /// the slowest are dropped [default: the number of workers]
        #[arg(long, value_name = "R")]
        replicas_to_aggregate: Replicas,
    }
}

section! {
    /// `[data]`: the examples.
    #[command(next_help_heading = "Data")]
    DataKeys {
        /// Folder of the four IDX files, plain or gzip; `unisono data fetch` gets all of MNIST
        /// [default: a small part of MNIST that is built in]
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// Number of training images, from the first one on, that are for validation [default: a
        /// tenth of them, at most 5000; 1000 of the built-in digits]
        #[arg(long, value_name = "N")]
        validation_size: Examples,
    }
}

section! {
    /// `[checkpoint]`: the files that a run leaves, and starts from.
    #[command(next_help_heading = "Files")]
    CheckpointKeys {
        /// Folder for checkpoints, losses and events; training goes on from the latest checkpoint
        /// there [default: ./mnist_model/]
        #[arg(long, value_name = "DIR")]
        logdir: PathBuf,
        /// Seconds between two checkpoints; 0 leaves only the one at the end [default: 60]
        #[arg(long, value_name = "SECS")]
        save_model_secs: Seconds,
        /// Seconds between two summaries for TensorBoard in the logdir's event file; 0 for none
        /// [default: 10]
        #[arg(long, value_name = "SECS")]
        save_summaries_secs: Seconds,
        /// Each ps keeps a ledger of its updates in its logdir, for `unisono audit` [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        ledger: bool,
        /// Each task keeps a trace of all that it does in its logdir, for `unisono report` and
        /// `unisono trace` [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        trace: bool,
        /// Go on from a checkpoint that was trained with other settings or on other data, as with a
        /// lower --learning-rate; without, that is refused. The chief's counts [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        allow_changed_settings: bool,
        /// Go on from a checkpoint although losses.csv lacks losses of steps before it; without, an
        /// older checkpoint is used, or the start refused. The chief's counts [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        allow_missing_losses: bool,
        /// Initial values of the variables, instead of random ones [default: none]
        #[arg(long, value_name = "FILE.safetensors")]
        init_from: PathBuf,
    }
}

section! {
    /// `[cluster]`, how the variables are laid over it, and how they travel.
    #[command(next_help_heading = "Cluster")]
    PlacementKeys {
        /// Whole variables by turns, as replica_device_setter, or an equal share of all
        /// elements to each ps, which is faster [default: even]
        #[arg(long, value_name = "HOW")]
        placement: Named<Placement>,
        /// Tasks of one machine and user pass parameters and gradients through memory that they
        /// share, instead of their sockets [default: true]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        shared_memory: bool,
    }
}

section! {
    /// `[cluster]`, where its tasks are.
    #[command(next_help_heading = "Cluster")]
    HostKeys {
        /// Comma-separated host:port of the ps, by task id [default:
        /// localhost:20000,localhost:20001]
        #[arg(long, value_name = "HOSTS")]
        ps_hosts: HostList,
        /// Comma-separated host:port of the workers, by task id [default:
        /// localhost:20003,localhost:20004]
        #[arg(long, value_name = "HOSTS")]
        worker_hosts: HostList,
    }
}

section! {
    /// `[cluster]`, its size, where its tasks are on this machine.
    #[command(next_help_heading = "Cluster")]
    SizeKeys {
        /// Parameter servers [default: 2]
        #[arg(long, value_name = "N")]
        ps: Tasks,
        /// Workers [default: 2]
        #[arg(long, value_name = "N")]
        workers: Tasks,
    }
}

section! {
    /// `[security]`: how the tasks prove to each other who they are.
    #[command(next_help_heading = "Security")]
    SecurityKeys {
        /// Certificate of this task (PEM), for mutual TLS; it names the task, as ps-0.unisono; with
        /// --tls-key and --tls-ca [default: none]
        #[arg(long, value_name = "FILE")]
        tls_cert: PathBuf,
        /// Private key of --tls-cert (PEM) [default: none]
        #[arg(long, value_name = "FILE")]
        tls_key: PathBuf,
        /// CA that signed the certificates of all tasks (PEM) [default: none]
        #[arg(long, value_name = "FILE")]
        tls_ca: PathBuf,
        /// File with a secret that all tasks share, instead of TLS: links are encrypted and
        /// authenticated, and whoever has the secret can speak as any task [default: none]
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
    }
}

section! {
    /// `[limits]`: how long tasks wait for each other; best the same for all.
    #[command(next_help_heading = "Limits")]
    LimitKeys {
        /// Seconds after which a task says for whom it waits; again whenever that has doubled
        /// [default: 10]
        #[arg(long, value_name = "SECS")]
        report_after: Patience,
        /// Seconds that a task waits for another before the whole run ends, with exit code 138; 0
        /// waits for ever [default: 0]
        #[arg(long, value_name = "SECS")]
        give_up_after: Seconds,
        /// Seconds between signs of life on a link with nothing to say [default: 2]
        #[arg(long, value_name = "SECS")]
        heartbeat_interval: Patience,
        /// Seconds of silence after which a task is taken for lost, and its link closed
        /// [default: 10]
        #[arg(long, value_name = "SECS")]
        heartbeat_timeout: Patience,
    }
}

section! {
    /// `[local]`: what the launcher of a cluster on this machine does about tasks that die.
    #[command(next_help_heading = "Supervision")]
    LocalKeys {
        /// Start a task that has died again, after a pause of 0.5 s that doubles, up to 30 s,
        /// until a life lasts a minute [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        supervise: bool,
        /// With supervise: restarts of one task within ten minutes; the run is given up if it
        /// dies once more [default: 10]
        #[arg(long, value_name = "N")]
        max_restarts: Restarts,
    }
}

section! {
    /// `[output]`: what a person sees, or a program in their stead.
    #[command(next_help_heading = "Output")]
    OutputKeys {
        /// How to show how far the run is [default: auto]
        #[arg(long, value_name = "HOW")]
        progress: ProgressMode,
        /// Form of the log on standard error: lines for a person, or one JSON object a line
        /// [default: text]
        #[arg(long, value_name = "FORM")]
        log_format: LogFormat,
        /// Serve /metrics for Prometheus, /healthz and /readyz at this host:port; port 0 is one of
        /// the system's choice. In a cluster of `unisono local` the port is of ps 0, and the other
        /// tasks have those after it [default: off]
        #[arg(long, value_name = "ADDRESS")]
        metrics: MetricsAddress,
    }
}

/// What every command that trains takes.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct RunKeys {
    /// `[train]`
    #[command(flatten)]
    pub train: TrainKeys,
    /// `[sync]`
    #[command(flatten)]
    pub sync: SyncKeys,
    /// `[data]`
    #[command(flatten)]
    pub data: DataKeys,
    /// `[checkpoint]`
    #[command(flatten)]
    pub checkpoint: CheckpointKeys,
    /// `[cluster]`
    #[command(flatten)]
    pub placement: PlacementKeys,
    /// `[security]`
    #[command(flatten)]
    pub security: SecurityKeys,
    /// `[limits]`
    #[command(flatten)]
    pub limits: LimitKeys,
    /// `[output]`
    #[command(flatten)]
    pub output: OutputKeys,
}

impl RunKeys {
    /// These flags, and what is absent from the file.
    #[must_use]
    pub fn or(self, mut file: Self) -> Self {
        if let Some(optimizer) = self.train.optimizer {
            // The file's parameters are those of the file's optimizer, which the flag replaced.
            file.train.keep_parameters_of(optimizer);
        }
        file.security.keep_the_way_of(&self.security);
        Self {
            train: self.train.or(file.train),
            sync: self.sync.or(file.sync),
            data: self.data.or(file.data),
            checkpoint: self.checkpoint.or(file.checkpoint),
            placement: self.placement.or(file.placement),
            security: self.security.or(file.security),
            limits: self.limits.or(file.limits),
            output: self.output.or(file.output),
        }
    }
}

impl TrainKeys {
    fn keep_parameters_of(&mut self, optimizer: OptimizerName) {
        if optimizer != OptimizerName::Momentum {
            (self.momentum, self.nesterov) = (None, None);
        }
        if optimizer != OptimizerName::Adam {
            (self.beta1, self.beta2, self.epsilon) = (None, None, None);
        }
    }
}
