//! The configuration of a whole run. Each value comes from the flag if the flag is given, otherwise
//! from the configuration file, and otherwise from the default.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hosts::ClusterSpec;
use super::keys::{HostKeys, LimitKeys, LocalKeys, RunKeys, SizeKeys, TrainKeys};
use super::values::{
    Fraction, LogFormat, NotNegative, OptimizerName, Patience, Positive, ProgressMode, Seconds,
    name_of,
};
use super::{MetricsAddress, OwnSettings, SecurityConfig, document_path as path};
use crate::config_error::{ConfigError, check_path};
use unisono_core::ids::{Job, TaskId};
use unisono_core::protocol::Limits;
use unisono_core::train_config::{ClusterSize, Optimizer, Placement, Portion, Sync, TrainConfig};

/// The configuration that all tasks of a run share. The configuration contains neither the job and
/// the number of a task nor the addresses of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The settings that determine the losses of the run.
    pub train: TrainConfig,
    /// The settings of a workload that is not built in.
    #[serde(default)]
    pub own: OwnSettings,
    /// The number of gradients per update, and the number of workers.
    pub sync: Sync,
    /// The number of parameter servers, at least 1.
    pub n_ps: u32,
    /// How variables are spread over the parameter servers.
    pub placement: Placement,
    /// Whether tensors between tasks of one machine are passed through shared memory.
    pub shared_memory: bool,
    /// The folder of the IDX files; `None` for the built-in examples.
    #[serde(with = "path", default)]
    pub data_dir: Option<PathBuf>,
    /// The number of training images for validation; `None` for the default of the data set.
    pub validation_size: Option<Portion>,
    /// The part of a table that is used as test examples; `None` for the default.
    pub test_size: Option<Portion>,
    /// The column of labels of a table; `None` for the default.
    pub label_column: Option<String>,
    /// The folder of the checkpoints, losses and events.
    #[serde(with = "path")]
    pub logdir: PathBuf,
    /// The time between two summaries; `None` for no summaries.
    pub save_summaries_secs: Option<Duration>,
    /// Whether each ps writes a ledger to the logdir.
    pub ledger: bool,
    /// Whether each task writes a trace to the logdir.
    pub trace: bool,
    /// Whether a run may resume from a checkpoint that was written with different settings or data.
    pub allow_changed_settings: bool,
    /// Whether an old run in the logdir is moved aside before the start. Only a flag sets this
    /// value, and only for one start. A launcher does not pass the value to its tasks, because a
    /// restarted task would move the current run aside.
    #[serde(skip)]
    pub fresh: bool,
    /// Whether a run may resume from a checkpoint although losses of earlier steps are missing.
    pub allow_missing_losses: bool,
    /// The file with the initial values of the variables; `None` for random values.
    #[serde(with = "path", default)]
    pub init_from: Option<PathBuf>,
    /// The method by which tasks authenticate each other.
    pub security: SecurityConfig,
    /// The time limits for waits between tasks, and the time between checkpoints.
    pub limits: Limits,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// The format of the log.
    pub log_format: LogFormat,
    /// The address at which metrics are served; `None` if no metrics are served.
    pub metrics: Option<MetricsAddress>,
}

impl LocalKeys {
    /// Returns the maximum number of restarts of one task within ten minutes; `None` if tasks are
    /// not restarted.
    ///
    /// # Errors
    /// Returns an error if a maximum is given, although tasks are not restarted.
    pub fn max_restarts(&self) -> Result<Option<u32>, ConfigError> {
        const DEFAULT: u32 = 10; // with the pauses in between, two and a half minutes
        let given = self.max_restarts.map(|n| n.get());
        match (self.supervise.unwrap_or(false), given) {
            (true, given) => Ok(Some(given.unwrap_or(DEFAULT))),
            (false, None) => Ok(None),
            (false, Some(given)) => Err(ConfigError::Contradiction(format!(
                "--max-restarts {given} has no effect without --supervise: give --supervise, or leave \
                 --max-restarts out"
            ))),
        }
    }
}

impl SizeKeys {
    /// Returns the numbers of ps and workers of a cluster on this machine. Each number is the given
    /// number, otherwise the length of the given list of hosts, and otherwise 2.
    #[must_use]
    pub fn resolve(&self, hosts: &HostKeys) -> ClusterSize {
        const DEFAULT: u32 = 2; // as many as the hosts of the original script
        let count = |hosts: &[_]| u32::try_from(hosts.len()).expect("fewer than 2^32 hosts");
        let ps = hosts.ps_hosts.as_ref().map(|hosts| count(hosts.as_slice()));
        let workers = hosts.worker_hosts.as_ref().map(|hosts| count(hosts.as_slice()));
        ClusterSize {
            n_ps: self.ps.map(|n| n.get()).or(ps).unwrap_or(DEFAULT),
            n_workers: self.workers.map(|n| n.get()).or(workers).unwrap_or(DEFAULT),
        }
    }
}

impl ClusterSpec {
    /// Returns the number of tasks of each job.
    #[must_use]
    pub fn size(&self) -> ClusterSize {
        let count = |hosts: &[_]| u32::try_from(hosts.len()).expect("fewer than 2^32 hosts");
        ClusterSize { n_ps: count(self.ps()), n_workers: count(self.workers()) }
    }

    /// Returns the cluster of the given hosts. If the hosts of a job are not given, the hosts of
    /// `ClusterSpec::default()` are used for the job.
    ///
    /// # Errors
    /// Returns an error if an address appears twice, or a given number of tasks differs from the
    /// number of hosts.
    pub fn resolve(hosts: HostKeys, size: &SizeKeys) -> Result<Self, ConfigError> {
        let default = Self::default();
        let spec = Self::new(
            hosts.ps_hosts.unwrap_or(default.ps),
            hosts.worker_hosts.unwrap_or(default.workers),
        )?;
        let agree = |key, count: Option<u32>, hosts_key, hosts: usize| match count {
            Some(count) if count as usize != hosts => Err(ConfigError::Contradiction(format!(
                "{key} = {count}, but the number of addresses in {hosts_key} is {hosts}: make the \
                     two agree, or leave {key} out"
            ))),
            _ => Ok(()),
        };
        agree("ps", size.ps.map(|n| n.get()), "ps_hosts", spec.ps().len())?;
        agree("workers", size.workers.map(|n| n.get()), "worker_hosts", spec.workers().len())?;
        Ok(spec)
    }
}

impl Default for RunConfig {
    /// Returns the configuration of `unisono local` without any flag.
    fn default() -> Self {
        let size = SizeKeys::default().resolve(&HostKeys::default());
        Self::resolve(RunKeys::default(), size).expect("the defaults do not contradict each other")
    }
}

impl RunConfig {
    /// Returns the configuration that these keys describe. Missing keys have their defaults.
    ///
    /// # Errors
    /// Returns an error if settings contradict each other.
    pub fn resolve(keys: RunKeys, size: ClusterSize) -> Result<Self, ConfigError> {
        // The default interval of TensorFlow's Supervisor, 120 s, is longer than many runs of this
        // program. A shorter interval costs little, because a summary hardly delays the steps.
        let default_interval = Some(Duration::from_secs(10));
        let interval = |given: Option<Seconds>| given.map_or(default_interval, Seconds::interval);
        let replicas = keys.sync.replicas_to_aggregate.map(|replicas| replicas.get());
        let path = |flag, path: Option<PathBuf>| check_path(flag, path.as_deref()).map(|()| path);
        Ok(Self {
            train: train_config(keys.train)?,
            own: OwnSettings::default(),
            sync: Sync {
                replicas_to_aggregate: replicas.unwrap_or(size.n_workers),
                total_num_replicas: size.n_workers,
            },
            n_ps: size.n_ps,
            placement: keys
                .placement
                .placement
                .map_or_else(Placement::default, |placement| placement.0),
            shared_memory: keys.placement.shared_memory.unwrap_or(true),
            data_dir: path("--data-dir", keys.data.data_dir)?,
            validation_size: keys.data.validation_size.map(|size| size.get()),
            test_size: keys.data.test_size.map(|size| size.get()),
            label_column: keys.data.label_column,
            logdir: path("--logdir", keys.checkpoint.logdir)?
                .unwrap_or_else(|| PathBuf::from("./mnist_model/")),
            save_summaries_secs: interval(keys.checkpoint.save_summaries_secs),
            ledger: keys.checkpoint.ledger.unwrap_or(false),
            trace: keys.checkpoint.trace.unwrap_or(false),
            allow_changed_settings: keys.checkpoint.allow_changed_settings.unwrap_or(false),
            fresh: false,
            allow_missing_losses: keys.checkpoint.allow_missing_losses.unwrap_or(false),
            init_from: path("--init-from", keys.checkpoint.init_from)?,
            security: SecurityConfig::resolve(keys.security)?,
            limits: limits(keys.limits, keys.checkpoint.save_model_secs)?,
            progress: keys.output.progress.unwrap_or_default(),
            log_format: keys.output.log_format.unwrap_or_default(),
            metrics: keys.output.metrics,
        })
    }

    /// Returns the metrics address of a task of a cluster on this machine; `None` if metrics are
    /// not served. The tasks have consecutive ports, and the ps come first.
    ///
    /// # Errors
    /// Returns an error if the port of the task would be above 65535.
    pub fn metrics_of(&self, task: TaskId) -> Result<Option<MetricsAddress>, ConfigError> {
        let Some(address) = &self.metrics else { return Ok(None) };
        let before = if task.job == Job::Ps { 0 } else { self.n_ps };
        let nth = u16::try_from(before + task.index).ok().and_then(|n| address.behind(n));
        let none = || {
            ConfigError::Contradiction(format!(
                "--metrics {address} leaves no port for {task}, because the tasks have consecutive \
                 ports: choose a lower port, or 0 to let the system choose"
            ))
        };
        nth.ok_or_else(none).map(Some)
    }
}

fn train_config(mut keys: TrainKeys) -> Result<TrainConfig, ConfigError> {
    let optimizer = optimizer(&keys)?;
    let (hidden, network) = keys.network()?;
    let default = TrainConfig::default();
    Ok(TrainConfig {
        batch_size: keys.batch_size.map_or(default.batch_size, |size| size.get()),
        learning_rate: keys.learning_rate.map_or(default.learning_rate, Positive::get),
        learning_rate_decay: keys
            .learning_rate_decay
            .map_or(default.learning_rate_decay, |rate| rate.get()),
        decay_steps: keys.decay_steps.map_or(default.decay_steps, Positive::get),
        regularization_rate: keys
            .regularization_rate
            .map_or(default.regularization_rate, NotNegative::get),
        moving_average_decay: keys.moving_average_decay.map(|decay| decay.get()),
        training_steps: keys.training_steps.map_or(default.training_steps, |steps| steps.get()),
        hidden,
        network,
        loss: keys.loss.map_or(default.loss, |loss| loss.0),
        optimizer,
        seed: keys.seed.map_or(default.seed, |seed| seed.get()),
        order: keys.order.map_or(default.order, |order| order.0),
    })
}

fn limits(keys: LimitKeys, save_model_secs: Option<Seconds>) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let or_never = |seconds: Seconds| seconds.interval().unwrap_or(Limits::NEVER);
    let limits = Limits {
        save_interval: save_model_secs.map_or(default.save_interval, or_never),
        report_after: keys.report_after.map_or(default.report_after, Patience::get),
        give_up_after: keys.give_up_after.map_or(default.give_up_after, or_never),
        heartbeat_interval: keys
            .heartbeat_interval
            .map_or(default.heartbeat_interval, Patience::get),
        heartbeat_timeout: keys.heartbeat_timeout.map_or(default.heartbeat_timeout, Patience::get),
        ..default
    };
    let (interval, timeout) = (limits.heartbeat_interval, limits.heartbeat_timeout);
    if timeout < 2 * interval {
        return Err(ConfigError::Contradiction(format!(
            "--heartbeat-timeout is {} s and --heartbeat-interval is {} s, so a healthy task would \
             count as lost: make the timeout at least twice the interval",
            timeout.as_secs_f64(),
            interval.as_secs_f64()
        )));
    }
    Ok(limits)
}

fn optimizer(keys: &TrainKeys) -> Result<Optimizer, ConfigError> {
    let ours = keys.optimizer.unwrap_or(OptimizerName::Sgd);
    let given = [
        ("--momentum", OptimizerName::Momentum, keys.momentum.is_some()),
        ("--nesterov", OptimizerName::Momentum, keys.nesterov.is_some()),
        ("--beta1", OptimizerName::Adam, keys.beta1.is_some()),
        ("--beta2", OptimizerName::Adam, keys.beta2.is_some()),
        ("--epsilon", OptimizerName::Adam, keys.epsilon.is_some()),
    ];
    for (parameter, theirs, is_given) in given {
        if is_given && theirs != ours {
            let (theirs, ours) = (name_of(&theirs), name_of(&ours));
            return Err(ConfigError::ForeignParameter { parameter, theirs, ours });
        }
    }
    let mut optimizer = ours.with_defaults();
    match &mut optimizer {
        Optimizer::Sgd => {}
        Optimizer::Momentum { momentum, nesterov } => {
            *momentum = keys.momentum.map_or(*momentum, Fraction::get);
            *nesterov = keys.nesterov.unwrap_or(*nesterov);
        }
        Optimizer::Adam { beta1, beta2, epsilon } => {
            *beta1 = keys.beta1.map_or(*beta1, Fraction::get);
            *beta2 = keys.beta2.map_or(*beta2, Fraction::get);
            *epsilon = keys.epsilon.map_or(*epsilon, Positive::get);
        }
    }
    Ok(optimizer)
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;
    use crate::FileKeys;
    use unisono_core::train_config::Order;

    const SIZE: ClusterSize = ClusterSize { n_ps: 2, n_workers: 3 };

    fn keys(flags: &[std::ffi::OsString]) -> RunKeys {
        let command = RunKeys::augment_args(Command::new("test")).no_binary_name(true);
        RunKeys::from_arg_matches(&command.get_matches_from(flags)).unwrap()
    }

    fn from_flags(text: &str) -> Result<RunConfig, ConfigError> {
        let flags: Vec<_> = text.split_whitespace().map(Into::into).collect();
        RunConfig::resolve(keys(&flags), SIZE)
    }

    fn from_file(flags: &str, file: &str) -> Result<RunConfig, ConfigError> {
        let flags: Vec<_> = flags.split_whitespace().map(Into::into).collect();
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file).unwrap();
        let file = FileKeys::read(path.path(), &[]).unwrap();
        RunConfig::resolve(keys(&flags).or(file.run), SIZE)
    }

    #[test]
    fn default_run_is_that_of_the_original_script() {
        let run = from_flags("").unwrap();
        assert_eq!(run.train, TrainConfig::default());
        assert_eq!(run.sync, Sync { replicas_to_aggregate: 3, total_num_replicas: 3 });
        assert_eq!(run.logdir, PathBuf::from("./mnist_model/"));
        assert_eq!(run.limits, Limits::default());
        assert_eq!(run.save_summaries_secs, Some(Duration::from_secs(10)));
        assert_eq!(run.placement, Placement::Even);
    }

    #[test]
    fn flag_overrides_the_file_and_the_file_overrides_the_default() {
        let file = "[train]\nbatch_size = 64\nseed = 7\norder = \"sequential\"\nhidden = []";
        let run = from_file("--seed 8", file).unwrap();
        assert_eq!((run.train.batch_size, run.train.seed), (64, 8));
        assert_eq!((run.train.order, run.train.decay_steps), (Order::Sequential, 600.0));
        assert_eq!(run.train.hidden, Vec::<usize>::new());
    }

    #[test]
    fn parameter_of_another_optimizer_is_refused() {
        let error = from_flags("--momentum 0.8").unwrap_err().to_string();
        insta::assert_snapshot!(error, @"--momentum is a parameter of the momentum optimizer, but the optimizer is sgd: give --optimizer momentum, or leave --momentum out");
        assert!(from_flags("--optimizer adam --nesterov").is_err());
        assert!(from_flags("--optimizer momentum --epsilon 1").is_err());
        assert!(from_flags("--optimizer momentum --nesterov --momentum 0").is_ok());
        assert!(from_file("", "[train]\nbeta1 = 0.5").is_err());
    }

    #[test]
    fn optimizer_flag_also_replaces_the_parameters_in_the_file() {
        let file = "[train]\noptimizer = \"momentum\"\nmomentum = 0.5";
        assert_eq!(from_file("--optimizer sgd", file).unwrap().train.optimizer, Optimizer::Sgd);
        let kept = from_file("--nesterov", file).unwrap().train.optimizer;
        assert_eq!(kept, Optimizer::Momentum { momentum: 0.5, nesterov: true });
    }

    #[test]
    fn empty_path_is_refused() {
        let empty = from_file("", "[checkpoint]\nlogdir = \"\"");
        let wanted = "--logdir is empty: give a path, or leave it out";
        assert_eq!(empty, Err(ConfigError::Contradiction(wanted.to_owned())));
    }

    #[test]
    fn given_size_of_the_cluster_overrides_the_number_of_hosts() {
        let hosts = HostKeys { ps_hosts: "a:1".parse().ok(), worker_hosts: None };
        let given = SizeKeys { ps: "3".parse().ok(), workers: None };
        let size = |size: &SizeKeys| {
            let size = size.resolve(&hosts);
            (size.n_ps, size.n_workers)
        };
        assert_eq!(size(&SizeKeys::default()), (1, 2));
        assert_eq!(size(&given), (3, 2));
        let error = ClusterSpec::resolve(hosts, &given).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"ps = 3, but the number of addresses in ps_hosts is 1: make the two agree, or leave ps out");
    }
}
