//! A cluster whose tasks are started one by one, as a user does in as many shells.

use std::cell::RefCell;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt as _, FdMapping};

use super::{Process, unisono};

/// Where systemd's protocol has the first inherited socket.
const FIRST_LISTEN_FD: i32 = 3;

/// One of its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Ps(usize),
    Worker(usize),
}

/// Where the tasks of a cluster are, and what all of them are told.
///
/// The sockets of the ps listen from the start and are handed over, so no port is taken by
/// somebody else in between. A ps that is started again binds its port by itself, unless
/// [`HandStarted::keep_sockets`] was called. Workers do not listen; their addresses only have to
/// differ.
#[derive(Debug)]
pub(crate) struct HandStarted {
    ps_hosts: Vec<String>,
    /// Those of the ps that are not yet started, or all if they are kept.
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
        let address = |ps: &TcpListener| ps.local_addr().expect("it is bound").to_string();
        Self {
            ps_hosts: sockets.iter().map(address).collect(),
            sockets: RefCell::new(sockets.into_iter().map(Some).collect()),
            keeps_sockets: false,
            n_workers,
            flags: flags.to_owned(),
            logdir,
        }
    }

    /// Every life of a ps gets the same socket; who calls between two lives waits for the second.
    pub(crate) fn keep_sockets(mut self) -> Self {
        self.keeps_sockets = true;
        self
    }

    /// The addresses of the ps, by task id.
    pub(crate) fn ps_hosts(&self) -> &[String] {
        &self.ps_hosts
    }

    pub(crate) fn start(&self, role: Role) -> Process {
        Process::start(self.command(role, &self.ps_hosts, ""))
    }

    /// With flags that beat those of all.
    pub(crate) fn start_with(&self, role: Role, flags: &str) -> Process {
        Process::start(self.command(role, &self.ps_hosts, flags))
    }

    /// In a process that may write no file of more than so many blocks of 512 or 1,024 bytes, which
    /// is the shell's to say; to it the disk is full then.
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
        // A flag may be given once; those of one task replace those of all.
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
            true => socket.as_ref().map(|socket| socket.try_clone().expect("it can be copied")),
            false => socket.take(),
        }
    }
}

/// Has a command take its callers from this socket.
pub(crate) fn hand_over(command: &mut Command, socket: TcpListener) {
    let mapping = FdMapping { parent_fd: socket.into(), child_fd: FIRST_LISTEN_FD };
    command.fd_mappings(vec![mapping]).expect("one mapping cannot collide");
    command.env("LISTEN_FDS", "1").env_remove("LISTEN_PID");
}
