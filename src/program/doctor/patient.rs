//! What the doctor examines.

use crate::program::local::LocalConfig;
use crate::program::task_config::TaskConfig;
use unisono_config::{ClusterSpec, RunConfig};
use unisono_core::ids::TaskId;

/// The command that is to be run.
#[derive(Clone, Debug, PartialEq)]
pub enum Patient {
    /// `unisono ps` or `unisono worker`
    Task(Box<TaskConfig>),
    /// `unisono local`
    Local(Box<LocalConfig>),
}

impl Patient {
    pub const fn run(&self) -> &RunConfig {
        match self {
            Self::Task(config) => &config.run,
            Self::Local(config) => &config.run,
        }
    }

    /// The tasks that will run on this machine.
    pub fn tasks(&self) -> Vec<TaskId> {
        match self {
            Self::Task(config) => vec![config.task],
            Self::Local(config) => {
                let ps = (0..config.run.n_ps).map(TaskId::ps);
                ps.chain((0..config.run.sync.total_num_replicas).map(TaskId::worker)).collect()
            }
        }
    }

    /// Where the tasks of a cluster are that is not all on this machine.
    pub fn cluster(&self) -> Option<&ClusterSpec> {
        match self {
            Self::Task(config) => Some(&config.cluster),
            Self::Local(_) => None,
        }
    }

    pub fn has(&self, is_one: impl Fn(&TaskId) -> bool) -> bool {
        self.tasks().iter().any(is_one)
    }
}
