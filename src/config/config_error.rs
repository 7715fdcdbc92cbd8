//! Why settings are not a run.

use crate::MetricsAddress;
use crate::hosts_error::HostsError;
use std::time::Duration;
use unisono_core::ids::TaskId;

/// Why settings, each right by itself, are not a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The hosts are no cluster.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// There is both a number of tasks and a list of them.
    #[error(
        "{key} = {count}, but {hosts_key} has {hosts} of them: make them agree, or leave {key} out"
    )]
    SizeAgainstHosts {
        /// The key of the number.
        key: &'static str,
        /// The number.
        count: u32,
        /// The key of the list.
        hosts_key: &'static str,
        /// The length of the list.
        hosts: usize,
    },
    /// A parameter of another optimizer.
    #[error(
        "{parameter} is a parameter of the {theirs} optimizer, but the optimizer is {ours}: give \
         --optimizer {theirs}, or leave {parameter} out"
    )]
    ForeignParameter {
        /// The flag.
        parameter: &'static str,
        /// The optimizer that has it.
        theirs: String,
        /// The one that was chosen.
        ours: String,
    },
    /// A limit on what is not done at all.
    #[error("--max-restarts {0} limits nothing without --supervise: give that, or leave it out")]
    RestartsUnsupervised(u32),
    /// A cluster on this machine has more tasks than there are ports left.
    #[error(
        "--metrics {address} leaves no port for {task}, as each task has the one after that of the \
         task before: choose a lower port, or 0 for ports of the system's choice"
    )]
    NoPortForMetrics {
        /// The first address.
        address: MetricsAddress,
        /// Who gets none.
        task: TaskId,
    },
    /// A path that is empty names nothing.
    #[error("{0} is empty: give a path, or leave it out")]
    EmptyPath(&'static str),
    /// Some of the three files of TLS.
    #[error(
        "TLS takes --tls-cert, --tls-key and --tls-ca together: give {0}, too, or none of them"
    )]
    PartOfTls(String),
    /// Two ways to prove who one is.
    #[error(
        "--secret-file and TLS (--tls-cert, --tls-key, --tls-ca) exclude each other: leave one out"
    )]
    TlsAndSecret,
    /// Every peer would be taken for lost between two signs of life.
    #[error(
        "--heartbeat-timeout is {} s and --heartbeat-interval {} s: a task that is well would be \
         taken for lost; make the timeout at least twice the interval",
        timeout.as_secs_f64(),
        interval.as_secs_f64()
    )]
    Heartbeats {
        /// Between signs of life.
        interval: Duration,
        /// Of silence.
        timeout: Duration,
    },
}
