//! The configuration of one task of a cluster.

use unisono_config::{ClusterSpec, HostPort, RunConfig};
use unisono_core::ids::TaskId;
use unisono_files::disk::LockedBy;

/// The configuration of one task of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskConfig {
    /// The task.
    pub task: TaskId,
    /// The addresses of all tasks, including this task.
    pub cluster: ClusterSpec,
    /// The configuration that all tasks share. The numbers of tasks in this configuration equal
    /// those in `cluster`.
    pub run: RunConfig,
    /// The address at which to listen; `None` for the address of this task in `cluster`.
    pub bind: Option<HostPort>,
    /// Whether a cluster manager, such as Kubeflow, placed the tasks on machines. If so, the name
    /// of this task may become resolvable only after the task has started, and on other machines
    /// first. So without `bind`, the task listens at all addresses.
    pub is_placed: bool,
    /// Cluster settings that a stronger source overrode; logged as warnings.
    pub notes: Vec<String>,
    /// Whether to exit when standard input ends; see [`ParentWatch`](crate::stop::ParentWatch).
    pub exit_with_parent: bool,
    /// The process, if any, that holds the lock on the logdir when this task starts.
    pub logdir_locked_by: LockedBy,
}
