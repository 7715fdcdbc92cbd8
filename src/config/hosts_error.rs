//! Why hosts are no cluster.

use unisono_core::ids::TaskId;

/// Why hosts cannot be those of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// The list is empty.
    #[error("there are no hosts; name at least one host:port, like localhost:20000")]
    NoHosts,
    /// An element of the list is empty.
    #[error("a host in the list is empty; write host:port,host:port with a single comma between")]
    Empty,
    /// It cannot be read.
    #[error("\"{value}\": {why}")]
    Malformed {
        /// What was given.
        value: String,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// Two tasks cannot listen at one address.
    #[error("{value} is the address of {first} and of {second}; give every task its own")]
    Duplicate {
        /// The address.
        value: String,
        /// The first task that has it.
        first: TaskId,
        /// The next one.
        second: TaskId,
    },
}
