//! What a command gets of the process that it runs in.

use std::net::TcpListener;

use unisono_core::ids::Incarnation;
use unisono_terminal::output::Screen;

use super::stop::ParentWatch;

/// What a command gets from the process that it runs in.
#[derive(Debug)]
pub struct Process {
    /// The incarnation that the supervisor gave this process, or the clock at its start. A process
    /// that starts later has a larger one, however long either takes to begin.
    pub incarnation: Incarnation,
    /// The listening socket that the parent bound for this task, if it did.
    pub listener: Option<TcpListener>,
    /// Standard output and error.
    pub screen: Screen,
    /// The parent process, if this process is to end with it.
    pub parent: Option<ParentWatch>,
}
