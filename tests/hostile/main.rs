//! Peers that mean harm, or are not of this cluster: each is refused with a line in the log, takes
//! little memory, and moves no bit of the run.
//!
//! The tasks are real processes. The hostile ends are sockets of this program, which speak the
//! protocol as far as it helps them.

#![allow(missing_docs, reason = "a test program")]

mod between;
mod identities;
mod insiders;
mod peer;
mod strangers;
#[path = "../support/mod.rs"]
mod support;

use std::fs;

use self::support::{Bits, HandStarted, Process, Role};

/// What every run here trains, in steps enough to be attacked.
const FLAGS: &str = "--hidden 32 --batch-size 20 --training-steps 60 --seed 5 --progress none";

/// The most resident memory that a process has had, in bytes.
fn peak_memory(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()));
    let status = status.expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says it");
    let kib = line.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
    kib.expect("a number of KiB") << 10
}

/// A cluster of 1 ps and 2 workers that waits for its worker 1, at step 0.
struct Waiting {
    cluster: HandStarted,
    ps: Process,
    chief: Process,
}

impl Waiting {
    /// `flags` beside those of every run.
    fn start(folder: &support::Folder, flags: &str) -> Self {
        let cluster = HandStarted::new(1, 2, &format!("{FLAGS} {flags}"), folder.logdir());
        let ps = cluster.start(Role::Ps(0));
        let mut chief = cluster.command(Role::Worker(0), cluster.ps_hosts(), "");
        chief.env("UNISONO_LOG", "info");
        let mut chief = Process::start(chief);
        chief.wait_for_stderr("step 0 is saved");
        Self { cluster, ps, chief }
    }

    fn ps_address(&self) -> &str {
        &self.cluster.ps_hosts()[0]
    }

    /// Starts worker 1; the run must end well, and be the one that nothing happened to.
    /// Gives what the ps has logged.
    fn finish(self, folder: &support::Folder) -> String {
        let worker = self.cluster.start(Role::Worker(1));
        worker.wait().expect_code(0);
        self.chief.wait().expect_code(0);
        let ps = self.ps.wait();
        ps.expect_code(0);
        let calm = support::bits_of(&format!("reference {FLAGS}"));
        Bits::read(&folder.logdir()).assert_same(&calm, "attacked");
        ps.stderr
    }
}

/// How many lines of a log have this text.
fn lines_with(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}
