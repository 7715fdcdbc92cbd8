//! The resources of the process in which a command runs.

use std::net::TcpListener;

use unisono_core::ids::Incarnation;
use unisono_terminal::output::Screen;

use crate::stop::ParentWatch;

/// The resources that a command gets from its process.
#[derive(Debug)]
pub struct Process {
    /// The incarnation that the supervisor has passed or, without a supervisor, the clock at the
    /// start of this process in microseconds. The clock is read at the start, so that a process
    /// that starts later has a larger incarnation, no matter how long each process takes to
    /// initialise.
    pub incarnation: Incarnation,
    /// The listening socket that the parent process bound for this task, if there is one.
    pub listener: Option<TcpListener>,
    /// Standard output and error.
    pub screen: Screen,
    /// The watch of the parent process; `None` if this process may outlive its parent.
    pub parent: Option<ParentWatch>,
}
