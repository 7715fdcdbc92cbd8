//! The command that `unisono doctor` checks.

use crate::program::local::LocalConfig;
use unisono_config::{ClusterSpec, RunConfig};
use unisono_core::ids::TaskId;
use unisono_task::task_config::TaskConfig;

/// The command that `unisono doctor` checks, with its configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Patient {
    /// `unisono ps` or `unisono worker`
    Task(Box<TaskConfig>),
    /// `unisono local`
    Local(Box<LocalConfig>),
}

impl Patient {
    /// Returns the configuration of the run.
    pub const fn run(&self) -> &RunConfig {
        match self {
            Self::Task(config) => &config.run,
            Self::Local(config) => &config.run,
        }
    }

    /// Returns the tasks that will run on this machine.
    pub fn tasks(&self) -> Vec<TaskId> {
        match self {
            Self::Task(config) => vec![config.task],
            Self::Local(config) => {
                let ps = (0..config.run.n_ps).map(TaskId::ps);
                ps.chain((0..config.run.sync.total_num_replicas).map(TaskId::worker)).collect()
            }
        }
    }

    /// Returns the addresses of the cluster; `None` if `unisono local` will choose the addresses.
    pub fn cluster(&self) -> Option<&ClusterSpec> {
        match self {
            Self::Task(config) => Some(&config.cluster),
            Self::Local(_) => None,
        }
    }

    /// Returns whether any task on this machine satisfies a condition.
    pub fn has(&self, is_one: impl Fn(&TaskId) -> bool) -> bool {
        self.tasks().iter().any(is_one)
    }
}
