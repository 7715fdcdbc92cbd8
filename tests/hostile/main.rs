//! Hostile peers and strangers. Each is refused with a line in the log, costs little memory, and
//! changes no bit of the run.
//!
//! The tasks are real processes. The hostile ends are sockets of this test, which speak as much of
//! the protocol as an attack needs.

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

/// Flags of all runs. The number of steps leaves time for attacks.
const FLAGS: &str = "--hidden 32 --batch-size 20 --training-steps 60 --seed 5 --progress none";

/// Returns the peak of a process's resident memory, in bytes.
fn peak_memory(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()));
    let status = status.expect("the process runs");
    let line =
        status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux reports the peak");
    let kib = line.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
    kib.expect("a number of KiB") << 10
}

/// A cluster of 1 ps and 2 workers that waits for worker 1 at step 0.
struct Waiting {
    cluster: HandStarted,
    ps: Process,
    chief: Process,
}

impl Waiting {
    /// Starts a cluster with [`FLAGS`] and `flags`.
    fn start(folder: &support::Folder, flags: &str) -> Self {
        let cluster = HandStarted::new(1, 2, &format!("{FLAGS} {flags}"), folder.logdir());
        let ps = cluster.start(Role::Ps(0));
        let mut chief = cluster.command(Role::Worker(0), cluster.ps_hosts(), "");
        chief.env("UNISONO_LOG", "info");
        let mut chief = Process::start(chief);
        chief.wait_for_stderr("saved the checkpoint of step 0 in");
        Self { cluster, ps, chief }
    }

    fn ps_address(&self) -> &str {
        &self.cluster.ps_hosts()[0]
    }

    /// Starts worker 1, and asserts that the run succeeds with the bits of an undisturbed run.
    /// Returns the log of the ps.
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

/// Returns the number of lines of a log that contain `text`.
fn lines_with(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}
