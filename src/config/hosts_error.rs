//! The errors of a list of hosts.

use unisono_core::ids::TaskId;

/// The error for a text that is not an address, or for hosts that do not form a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// The list is empty.
    #[error("there are no hosts; name at least one host:port, like localhost:20000")]
    NoHosts,
    /// An element of the list is empty.
    #[error("a host in the list is empty; write host:port,host:port with a single comma between")]
    Empty,
    /// An element of the list is not a valid address.
    #[error("\"{value}\": {why}")]
    Malformed {
        /// The element's text.
        value: String,
        /// The reason and a remedy.
        why: String,
    },
    /// Two tasks have the same address.
    #[error("{value} is the address of {first} and of {second}; give every task its own")]
    Duplicate {
        /// The address.
        value: String,
        /// The first task with the address.
        first: TaskId,
        /// The next task with the address.
        second: TaskId,
    },
}
