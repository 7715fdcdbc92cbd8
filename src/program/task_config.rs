//! What a command needs that runs one task of a cluster.

use unisono_config::{ClusterSpec, HostPort, RunConfig};
use unisono_core::ids::TaskId;
use unisono_files::disk::LockedBy;

/// One task of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskConfig {
    /// Which one.
    pub task: TaskId,
    /// Where all of them are; it has the task.
    pub cluster: ClusterSpec,
    /// What all of them do; its sizes are the cluster's.
    pub run: RunConfig,
    /// Where to listen, if that is said.
    pub bind: Option<HostPort>,
    /// Whether an engine says where the tasks are. Then a name may be known only later, and it may
    /// be known to others before this task itself: without `bind`, all addresses are listened at.
    pub is_placed: bool,
    /// What was said of the cluster, and does not count.
    pub notes: Vec<String>,
    /// Whether to end when standard input does; see [`super::ParentWatch`].
    pub exit_with_parent: bool,
    /// Who has locked the logdir for the chief.
    pub logdir_locked_by: LockedBy,
}
