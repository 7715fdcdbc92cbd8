//! Every flag and file key, declared once with its `--help` text.
//!
//! A field is a flag (with dashes) and a key of the struct's section in the file (with underscores).
//! A field has a value only if the user gave it. `[default: …]` is text, and a test compares it with
//! the real default.

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

/// Declares a section and its method `or`, which takes absent fields from a weaker source.
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
            /// Returns the fields given here and, where a field is absent, the one of `weaker`.
            #[must_use]
            pub fn or(self, weaker: Self) -> Self {
                Self { $( $field: self.$field.or(weaker.$field), )* }
            }
        }
    };
}

section! {
    /// `[train]`: the loss depends on these, on the size of the cluster and on `[sync]` alone.
    #[command(next_help_heading = "Training")]
    TrainKeys {
        /// Examples in each batch [default: 100]
        #[arg(long, value_name = "N")]
        batch_size: BatchSize,
        /// Learning rate at step 0 [default: 0.01]
        #[arg(long, value_name = "RATE")]
        learning_rate: Positive,
        /// Factor applied to the learning rate, smoothly, over each decay-steps [default: 0.99]
        #[arg(long, value_name = "FACTOR")]
        learning_rate_decay: DecayRate,
        /// Steps over which learning-rate-decay is applied once [default: 600]
        #[arg(long, value_name = "STEPS")]
        decay_steps: Positive,
        /// λ of the loss term Σ λ·w²/2 over the weights; 0 disables it [default: 0.0001]
        #[arg(long, value_name = "RATE")]
        regularization_rate: NotNegative,
        /// Keep moving averages of the variables with this decay, such as 0.99 [default: off]
        #[arg(long, value_name = "DECAY")]
        moving_average_decay: OpenFraction,
        /// Updates of the whole run, including those before a restart [default: 10000]
        #[arg(long, value_name = "STEPS")]
        training_steps: Steps,
        /// Sizes of the hidden layers, comma-separated; "" is softmax regression [default: 500]
        #[arg(long, value_name = "SIZES")]
        hidden: Hidden,
        /// Rule that makes an update from the mean gradient [default: sgd]
        #[arg(long, value_name = "NAME")]
        optimizer: OptimizerName,
        /// For momentum: decay of the accumulated gradient [default: 0.9]
        #[arg(long, value_name = "DECAY")]
        momentum: Fraction,
        /// For momentum: use Nesterov's form, which looks ahead [default: false]
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
        /// Order in which a slot draws its examples: its own permutation in each epoch, a share of
        /// one permutation, or the rows in file order [default: shuffled]
        #[arg(long, value_name = "ORDER")]
        order: Named<Order>,
    }
}

section! {
    /// `[sync]`: how many gradients make an update.
    #[command(next_help_heading = "Synchronisation")]
    SyncKeys {
        /// R: gradients in each update. With more than one per worker, workers compute several
        /// batches; with fewer, the slowest gradients are dropped [default: the number of workers]
        #[arg(long, value_name = "R")]
        replicas_to_aggregate: Replicas,
    }
}

section! {
    /// `[data]`: the examples.
    #[command(next_help_heading = "Data")]
    DataKeys {
        /// Folder of the four IDX files, plain or gzip; `unisono data fetch` fetches all of MNIST
        /// [default: a small part of MNIST that is built in]
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// Use the first N training images for validation [default: a tenth of them, at most 5000;
        /// 1000 of the built-in digits]
        #[arg(long, value_name = "N")]
        validation_size: Examples,
    }
}

section! {
    /// `[checkpoint]`: the files that a run writes and resumes from.
    #[command(next_help_heading = "Files")]
    CheckpointKeys {
        /// Folder for checkpoints, losses and events; training resumes from the latest checkpoint
        /// there [default: ./mnist_model/]
        #[arg(long, value_name = "DIR")]
        logdir: PathBuf,
        /// Seconds between two checkpoints; 0 saves only at the end [default: 60]
        #[arg(long, value_name = "SECS")]
        save_model_secs: Seconds,
        /// Seconds between two TensorBoard summaries in the logdir's event file; 0 disables them
        /// [default: 10]
        #[arg(long, value_name = "SECS")]
        save_summaries_secs: Seconds,
        /// Write a ledger of the updates of each ps to its logdir, for `unisono audit` [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        ledger: bool,
        /// Write a trace of the actions of each task to its logdir, for `unisono report` and
        /// `unisono trace` [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        trace: bool,
        /// Resume from a checkpoint although its settings or data differ, such as a lower
        /// --learning-rate; otherwise the start is refused. Only the chief reads it [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        allow_changed_settings: bool,
        /// Resume from a checkpoint although losses.csv lacks losses of earlier steps; otherwise an
        /// older checkpoint is used or the start is refused. Only the chief reads it [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        allow_missing_losses: bool,
        /// Initial values of the variables, instead of random ones [default: none]
        #[arg(long, value_name = "FILE.safetensors")]
        init_from: PathBuf,
    }
}

section! {
    /// `[cluster]`: how the variables are spread over the ps, and how tensors travel.
    #[command(next_help_heading = "Cluster")]
    PlacementKeys {
        /// How variables are spread over the ps: whole variables in turn, as
        /// replica_device_setter does, or an equal share of all elements for each ps, which is
        /// faster [default: even]
        #[arg(long, value_name = "HOW")]
        placement: Named<Placement>,
        /// Pass parameters and gradients between tasks of one machine and user through shared memory
        /// instead of sockets [default: true]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        shared_memory: bool,
    }
}

section! {
    /// `[cluster]`: the addresses of the tasks.
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
    /// `[cluster]`: the number of tasks, for a cluster on this machine.
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
    /// `[security]`: how tasks authenticate each other.
    #[command(next_help_heading = "Security")]
    SecurityKeys {
        /// Certificate of this task (PEM), for mutual TLS; must name the task, as ps-0.unisono; needs
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
        /// authenticated, but a holder of the secret can act as any task [default: none]
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
    }
}

section! {
    /// `[limits]`: how long tasks wait for each other. All tasks should have the same limits.
    #[command(next_help_heading = "Limits")]
    LimitKeys {
        /// Log what a task is waiting for after this many seconds, then at 2×, 4×, … [default: 10]
        #[arg(long, value_name = "SECS")]
        report_after: Patience,
        /// End the run with exit code 138 after a task has waited this many seconds for another; 0
        /// waits forever [default: 0]
        #[arg(long, value_name = "SECS")]
        give_up_after: Seconds,
        /// Seconds between heartbeats on an idle link [default: 2]
        #[arg(long, value_name = "SECS")]
        heartbeat_interval: Patience,
        /// Seconds of silence after which a task counts as lost and its link is closed [default: 10]
        #[arg(long, value_name = "SECS")]
        heartbeat_timeout: Patience,
    }
}

section! {
    /// `[local]`: what `unisono local` does when a task dies.
    #[command(next_help_heading = "Supervision")]
    LocalKeys {
        /// Restart a task that has died. The pause before a restart is 0.5 s and doubles up to 30 s;
        /// the pause is reset once a task has run for a minute [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true", hide_possible_values = true)]
        supervise: bool,
        /// With supervise: restarts of one task within ten minutes; the run ends when the task dies
        /// once more [default: 10]
        #[arg(long, value_name = "N")]
        max_restarts: Restarts,
    }
}

section! {
    /// `[output]`: what a person or a program sees of the run.
    #[command(next_help_heading = "Output")]
    OutputKeys {
        /// How to show the progress of the run [default: auto]
        #[arg(long, value_name = "HOW")]
        progress: ProgressMode,
        /// Format of the log on standard error: text for a person, or one JSON object per line
        /// [default: text]
        #[arg(long, value_name = "FORM")]
        log_format: LogFormat,
        /// Serve /metrics for Prometheus, /healthz and /readyz at this host:port; with port 0 the
        /// system chooses. With `unisono local`, ps 0 has this port and the other tasks have the
        /// ports after it [default: off]
        #[arg(long, value_name = "ADDRESS")]
        metrics: MetricsAddress,
    }
}

/// The settings of every command that trains.
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
    /// Returns these flags and, where a flag is absent, the key of the file.
    #[must_use]
    pub fn or(self, mut file: Self) -> Self {
        if let Some(optimizer) = self.train.optimizer {
            // The file's parameters are those of the file's optimizer, which the flag replaced.
            file.train.keep_parameters_of(optimizer);
        }
        file.security.drop_contradictions(&self.security);
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
