//! The errors of settings that contradict each other.

use crate::MetricsAddress;
use crate::hosts_error::HostsError;
use std::time::Duration;
use unisono_core::ids::TaskId;

/// Settings, each valid by itself, contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The hosts do not make a cluster.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// A number of tasks differs from the length of the list of hosts.
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
    /// A parameter belongs to another optimizer.
    #[error(
        "{parameter} is a parameter of the {theirs} optimizer, but the optimizer is {ours}: give \
         --optimizer {theirs}, or leave {parameter} out"
    )]
    ForeignParameter {
        /// The flag of the parameter.
        parameter: &'static str,
        /// The optimizer that has the parameter.
        theirs: String,
        /// The chosen optimizer.
        ours: String,
    },
    /// A limit on restarts is given, but tasks are not restarted.
    #[error(
        "--max-restarts {0} has no effect without --supervise: give --supervise, or leave --max-restarts out"
    )]
    RestartsUnsupervised(u32),
    /// A cluster on this machine has more tasks than there are ports left.
    #[error(
        "--metrics {address} leaves no port for {task}, because the tasks have consecutive ports: \
         choose a lower port, or 0 to let the system choose"
    )]
    NoPortForMetrics {
        /// The address of the first task.
        address: MetricsAddress,
        /// The first task without a port.
        task: TaskId,
    },
    /// A path is empty.
    #[error("{0} is empty: give a path, or leave it out")]
    EmptyPath(&'static str),
    /// One or two of the three files of TLS are given.
    #[error(
        "TLS takes --tls-cert, --tls-key and --tls-ca together: also give {0}, or give none of them"
    )]
    PartOfTls(String),
    /// Two ways of authentication are given.
    #[error(
        "--secret-file and TLS (--tls-cert, --tls-key, --tls-ca) exclude each other: leave one out"
    )]
    TlsAndSecret,
    /// The timeout is so short that every peer would count as lost between two heartbeats.
    #[error(
        "--heartbeat-timeout is {} s and --heartbeat-interval is {} s, so a healthy task would count as \
         lost: make the timeout at least twice the interval",
        timeout.as_secs_f64(),
        interval.as_secs_f64()
    )]
    Heartbeats {
        /// The interval of the heartbeats.
        interval: Duration,
        /// The limit of silence.
        timeout: Duration,
    },
}
