//! A cluster whose tasks are started one by one, as a user does in several shells.

use std::cell::RefCell;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt as _, FdMapping};

use super::{Process, unisono};

/// File descriptor of the first inherited socket in systemd's protocol.
const FIRST_LISTEN_FD: i32 = 3;

/// A task of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Ps(usize),
    Worker(usize),
}

/// The addresses of a cluster's tasks, and the flags that all tasks share.
///
/// The sockets of the ps listen from the start and are passed to the processes, so that no other
/// process can take a port. A restarted ps binds its port itself, unless
/// [`HandStarted::keep_sockets`] was called. Workers do not listen, and their addresses only have
/// to differ.
#[derive(Debug)]
pub(crate) struct HandStarted {
    ps_hosts: Vec<String>,
    /// The listening socket of each ps. `None` after it was passed on, unless sockets are kept.
    sockets: RefCell<Vec<Option<TcpListener>>>,
    keeps_sockets: bool,
    n_workers: usize,
    flags: String,
    logdir: PathBuf,
}

impl HandStarted {
    pub(crate) fn new(n_ps: usize, n_workers: usize, flags: &str, logdir: PathBuf) -> Self {
        let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let sockets: Vec<_> = (0..n_ps).map(bind).collect();
        let address =
            |ps: &TcpListener| ps.local_addr().expect("the listener is bound").to_string();
        Self {
            ps_hosts: sockets.iter().map(address).collect(),
            sockets: RefCell::new(sockets.into_iter().map(Some).collect()),
            keeps_sockets: false,
            n_workers,
            flags: flags.to_owned(),
            logdir,
        }
    }

    /// Passes the same socket to every process of a ps. Connections between two processes wait for
    /// the second one.
    pub(crate) fn keep_sockets(mut self) -> Self {
        self.keeps_sockets = true;
        self
    }

    /// Returns the addresses of the ps, by task id.
    pub(crate) fn ps_hosts(&self) -> &[String] {
        &self.ps_hosts
    }

    pub(crate) fn start(&self, role: Role) -> Process {
        Process::start(self.command(role, &self.ps_hosts, ""))
    }

    /// Starts a task with `flags`, which override the flags of all tasks.
    pub(crate) fn start_with(&self, role: Role, flags: &str) -> Process {
        Process::start(self.command(role, &self.ps_hosts, flags))
    }

    /// Starts a task that can write at most `max_blocks` blocks to a file, as on a full disk. The
    /// shell decides whether a block has 512 or 1,024 bytes.
    pub(crate) fn start_limited(&self, role: Role, max_blocks: u32) -> Process {
        let program = self.without_socket(role, &self.ps_hosts, "");
        let mut command = Command::new("sh");
        let script = "ulimit -f \"$0\"; exec \"$@\"";
        command.args(["-c", script, &max_blocks.to_string()]);
        command.arg(program.get_program()).args(program.get_args());
        command.env_remove("UNISONO_LOG").env_remove("UNISONO_SIMD");
        self.hand_socket_to(&mut command, role);
        Process::start(command)
    }

    pub(crate) fn command(&self, role: Role, ps_hosts: &[String], flags: &str) -> Command {
        let mut command = self.without_socket(role, ps_hosts, flags);
        self.hand_socket_to(&mut command, role);
        command
    }

    fn without_socket(&self, role: Role, ps_hosts: &[String], flags: &str) -> Command {
        let (job, index) = match role {
            Role::Ps(index) => ("ps", index),
            Role::Worker(index) => ("worker", index),
        };
        let workers: Vec<_> =
            (0..self.n_workers).map(|index| format!("127.0.0.1:{}", index + 1)).collect();
        let mut all: Vec<&str> = self.flags.split_whitespace().collect();
        // The program accepts a flag only once, so the task's flags replace those of all tasks.
        for flag in flags.split_whitespace().filter(|word| word.starts_with("--")) {
            if let Some(at) = all.iter().position(|of_all| *of_all == flag) {
                all.drain(at..at + 2);
            }
        }
        let mut command = unisono(&format!(
            "{job} --task-id {index} --ps-hosts {} --worker-hosts {} {} {flags}",
            ps_hosts.join(","),
            workers.join(","),
            all.join(" "),
        ));
        command.arg("--logdir").arg(&self.logdir);
        command
    }

    fn hand_socket_to(&self, command: &mut Command, role: Role) {
        if let Role::Ps(index) = role
            && let Some(socket) = self.socket(index)
        {
            hand_over(command, socket);
        }
    }

    fn socket(&self, index: usize) -> Option<TcpListener> {
        let socket = &mut self.sockets.borrow_mut()[index];
        match self.keeps_sockets {
            true => {
                socket.as_ref().map(|socket| socket.try_clone().expect("the file can be copied"))
            }
            false => socket.take(),
        }
    }
}

/// Makes a command inherit a listening socket, by systemd's protocol.
pub(crate) fn hand_over(command: &mut Command, socket: TcpListener) {
    let mapping = FdMapping { parent_fd: socket.into(), child_fd: FIRST_LISTEN_FD };
    command.fd_mappings(vec![mapping]).expect("one mapping cannot collide");
    command.env("LISTEN_FDS", "1").env_remove("LISTEN_PID");
}
