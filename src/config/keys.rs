//! The declarations of all flags and file keys, each with its `--help` text.
//!
//! Each field declares a flag, and a key in a section of the configuration file. The flag's name
//! has dashes, and the key's name has underscores. A field has a value only if the user gave the
//! flag or the key. The text `[default: …]` has no effect, and a test compares this text with the
//! real default.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::MetricsAddress;
use super::hosts::HostList;
use super::layers::{LayerList, ModelName};
use super::values::{
    BatchSize, DecayRate, Fraction, Hidden, LogFormat, Named, NotNegative, OpenFraction,
    OptimizerName, Part, Patience, Positive, ProgressMode, Replicas, Restarts, Seconds, Seed,
    Steps, Tasks,
};
use unisono_core::network::{Loss, Sizes};
use unisono_core::train_config::{Order, Placement};

/// Declares the struct of a section, and the method `or`, which takes missing fields from a source
/// of lower precedence. The text after a field's type is the name of the value in `--help`.
macro_rules! section {
    (
        $(#[$attribute:meta])*
        $name:ident {
            $( $(#[$field_attribute:meta])* $field:ident: $type:ty = $value_name:literal, )*
        }
    ) => {
        #[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
        $(#[$attribute])*
        #[serde(default)]
        pub struct $name {
            $(
                $(#[$field_attribute])*
                #[arg(long, value_name = $value_name)]
                pub $field: Option<$type>,
            )*
        }

        impl $name {
            /// Returns the fields of `self`. Fields without a value are taken from `weaker`.
            #[must_use]
            pub fn or(self, weaker: Self) -> Self {
                Self { $( $field: self.$field.or(weaker.$field), )* }
            }
        }
    };
}

section! {
    /// `[train]`: the settings of the training. The losses depend only on `[train]`, on `[sync]`,
    /// on the size of the cluster and on the data.
    #[command(next_help_heading = "Training")]
    TrainKeys {
        /// Examples in each batch [default: 100]
        batch_size: BatchSize = "N",
        /// Learning rate at step 0 [default: 0.01]
        learning_rate: Positive = "RATE",
        /// Factor by which the learning rate falls, smoothly, over every --decay-steps steps
        /// [default: 0.99]
        learning_rate_decay: DecayRate = "FACTOR",
        /// Steps over which learning-rate-decay is applied once [default: 600]
        decay_steps: Positive = "STEPS",
        /// λ of the loss term Σ λ·w²/2 over the weights; 0 disables it [default: 0.0001]
        regularization_rate: NotNegative = "RATE",
        /// Keep moving averages of the variables with this decay, such as 0.99 [default: off]
        moving_average_decay: OpenFraction = "DECAY",
        /// Updates of the whole run, including those before a restart [default: 10000]
        training_steps: Steps = "STEPS",
        /// Built-in model to train [default: mlp]
        model: ModelName = "NAME",
        /// For mlp: sizes of the hidden layers, comma-separated; "" is softmax regression [default:
        /// 500]
        hidden: Hidden = "SIZES",
        /// Layers of a network, separated by semicolons, such as "conv2d filters=32 kernel=5; relu;
        /// max_pool size=2; flatten; dense"; a dense layer without units has one unit per class
        /// [default: none]
        layers: LayerList = "LAYERS",
        /// For lenet5 and --layers: shape of an example, as height x width x channels, such as
        /// 28x28x1 [default: the shape in the data]
        input: Sizes = "SHAPE",
        /// Loss of the outputs [default: softmax-cross-entropy]
        loss: Named<Loss> = "NAME",
        /// Rule that makes an update from the mean gradient [default: sgd]
        optimizer: OptimizerName = "NAME",
        /// For momentum: decay of the accumulated gradient [default: 0.9]
        momentum: Fraction = "DECAY",
        /// For momentum: use Nesterov's form, which looks ahead [default: false]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        #[arg(hide_possible_values = true)]
        nesterov: bool = "BOOL",
        /// For adam: decay of the first moment [default: 0.9]
        beta1: Fraction = "DECAY",
        /// For adam: decay of the second moment [default: 0.999]
        beta2: Fraction = "DECAY",
        /// For adam: added to the root of the second moment [default: 1e-8]
        epsilon: Positive = "NUMBER",
        /// Seed of the initial values and of the order of the data [default: 1]
        seed: Seed = "SEED",
        /// Order of the examples: one permutation per slot and epoch, one permutation per epoch
        /// that the slots share, or the order of the file [default: shuffled]
        order: Named<Order> = "ORDER",
    }
}

section! {
    /// `[sync]`: how many gradients make an update.
    #[command(next_help_heading = "Synchronisation")]
    SyncKeys {
        /// R: gradients in each update. With R above the number of workers, workers compute several
        /// batches; with R below that number, the slowest gradients are dropped [default: the
        /// number of workers]
        replicas_to_aggregate: Replicas = "R",
    }
}

section! {
    /// `[data]`: the examples.
    #[command(next_help_heading = "Data")]
    DataKeys {
        /// Data: a folder of four IDX files or of CIFAR-10's binary files, or a file that ends in
        /// .npz, .safetensors or .csv; `unisono data fetch` fetches all of MNIST [default: a small
        /// part of MNIST that is built in]
        #[arg(alias = "data")]
        data_dir: PathBuf = "PATH",
        /// For a .csv file: name of the column of labels [default: the column label]
        label_column: String = "NAME",
        /// For a .csv file: examples to test on, as a number or a share [default: a fifth of
        /// them]
        test_size: Part = "PART",
        /// First training examples, used for validation, as a number or a share [default: a tenth of
        /// them, at most 5000; 1000 of the built-in digits]
        validation_size: Part = "PART",
    }
}

section! {
    /// `[checkpoint]`: the files that a run writes and resumes from.
    #[command(next_help_heading = "Files")]
    CheckpointKeys {
        /// Folder for checkpoints, losses and events; training resumes from the latest checkpoint
        /// there [default: ./mnist_model/]
        logdir: PathBuf = "DIR",
        /// Seconds between two checkpoints; 0 saves only at the end [default: 60]
        save_model_secs: Seconds = "SECS",
        /// Seconds between two TensorBoard summaries in the logdir's event file; 0 disables them
        /// [default: 10]
        save_summaries_secs: Seconds = "SECS",
        /// Write a ledger of the updates of each ps to its logdir, for `unisono audit` [default: false]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        #[arg(hide_possible_values = true)]
        ledger: bool = "BOOL",
        /// Write a trace of the actions of each task to its logdir, for `unisono report` and
        /// `unisono trace` [default: false]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        #[arg(hide_possible_values = true)]
        trace: bool = "BOOL",
        /// Resume from a checkpoint although its settings or data differ, such as a lower
        /// --learning-rate; otherwise the start is refused. Only the chief reads it [default: false]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        #[arg(hide_possible_values = true)]
        allow_changed_settings: bool = "BOOL",
        /// Resume from a checkpoint although losses.csv lacks losses of earlier steps; otherwise an
        /// older checkpoint is used or the start is refused. Only the chief reads it [default: false]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        #[arg(hide_possible_values = true)]
        allow_missing_losses: bool = "BOOL",
        /// Initial values of the variables, instead of random ones [default: none]
        init_from: PathBuf = "FILE.safetensors",
    }
}

section! {
    /// `[cluster]`: how the variables are spread over the ps, and how tensors travel.
    #[command(next_help_heading = "Cluster")]
    PlacementKeys {
        /// How variables are spread over the ps: whole variables in turn, as
        /// replica_device_setter does, or an equal share of all elements for each ps, which is
        /// faster [default: even]
        placement: Named<Placement> = "HOW",
        /// Pass parameters and gradients between tasks of one machine and user through shared memory
        /// instead of sockets [default: true]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        #[arg(hide_possible_values = true)]
        shared_memory: bool = "BOOL",
    }
}

section! {
    /// `[cluster]`: the addresses of the tasks.
    #[command(next_help_heading = "Cluster")]
    HostKeys {
        /// Comma-separated host:port of the ps, by task id [default:
        /// localhost:20000,localhost:20001]
        ps_hosts: HostList = "HOSTS",
        /// Comma-separated host:port of the workers, by task id [default:
        /// localhost:20003,localhost:20004]
        worker_hosts: HostList = "HOSTS",
    }
}

section! {
    /// `[cluster]`: the number of tasks, for a cluster on this machine.
    #[command(next_help_heading = "Cluster")]
    SizeKeys {
        /// Parameter servers [default: 2]
        ps: Tasks = "N",
        /// Workers [default: 2]
        workers: Tasks = "N",
    }
}

section! {
    /// `[security]`: how tasks authenticate each other.
    #[command(next_help_heading = "Security")]
    SecurityKeys {
        /// Certificate of this task (PEM), for mutual TLS; must name the task, as ps-0.unisono; needs
        /// --tls-key and --tls-ca [default: none]
        tls_cert: PathBuf = "FILE",
        /// Private key of --tls-cert (PEM) [default: none]
        tls_key: PathBuf = "FILE",
        /// CA that signed the certificates of all tasks (PEM) [default: none]
        tls_ca: PathBuf = "FILE",
        /// File with a secret that all tasks share, instead of TLS: links are encrypted and
        /// authenticated, but a holder of the secret can act as any task [default: none]
        secret_file: PathBuf = "FILE",
    }
}

section! {
    /// `[limits]`: how long tasks wait for each other. All tasks should have the same limits.
    #[command(next_help_heading = "Limits")]
    LimitKeys {
        /// Log what a task is waiting for after this many seconds, then at 2×, 4×, … [default: 10]
        report_after: Patience = "SECS",
        /// End the run with exit code 138 after a task has waited this many seconds for another
        /// task; 0 waits forever [default: 0]
        give_up_after: Seconds = "SECS",
        /// Seconds between heartbeats on an idle link [default: 2]
        heartbeat_interval: Patience = "SECS",
        /// Seconds of silence after which a task counts as lost and its link is closed [default: 10]
        heartbeat_timeout: Patience = "SECS",
    }
}

section! {
    /// `[local]`: what `unisono local` does when a task dies.
    #[command(next_help_heading = "Supervision")]
    LocalKeys {
        /// Restart a task that has died. The pause before a restart is 0.5 s and doubles up to 30 s;
        /// the pause is reset once a task has run for a minute [default: false]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        #[arg(hide_possible_values = true)]
        supervise: bool = "BOOL",
        /// With supervise: restarts of one task within ten minutes; the run ends when the task dies
        /// once more [default: 10]
        max_restarts: Restarts = "N",
    }
}

section! {
    /// `[output]`: what a person or a program sees of the run.
    #[command(next_help_heading = "Output")]
    OutputKeys {
        /// How to show the progress of the run [default: auto]
        progress: ProgressMode = "HOW",
        /// Format of the log on standard error: text for a person, or one JSON object per line
        /// [default: text]
        log_format: LogFormat = "FORM",
        /// Serve /metrics for Prometheus, /healthz and /readyz at this host:port; with port 0 the
        /// system chooses a port. With `unisono local`, ps 0 has this port and the other tasks have
        /// the ports after it [default: off]
        metrics: MetricsAddress = "ADDRESS",
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
    /// Returns the settings of `self`, which come from flags. Settings without a flag are taken
    /// from `file`.
    #[must_use]
    pub fn or(self, mut file: Self) -> Self {
        if let Some(optimizer) = self.train.optimizer {
            // A flag replaces the optimizer of the file. Parameters in the file that the new
            // optimizer does not have are dropped.
            file.train.keep_parameters_of(optimizer);
        }
        file.train.drop_model_if_in(&self.train);
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
