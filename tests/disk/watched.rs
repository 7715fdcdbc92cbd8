//! A run whose disk a test spoils: how far it is, what its chief says, what it has saved.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Ended, Process, last_step, wait_until};

/// A small run.
pub(crate) const FLAGS: &str = "--hidden 32 --batch-size 20 --progress json";
/// Saves five times a second, until somebody ends it.
pub(crate) const ENDLESS: &str = "--hidden 32 --batch-size 20 --progress json \
                                  --save-model-secs 0.2 --training-steps 100000000";

pub(crate) struct Watched {
    run: Process,
    logdir: PathBuf,
}

impl Watched {
    /// `logdir` as this process finds it.
    pub(crate) fn start(command: Command, logdir: &Path) -> Self {
        Self { run: Process::start(command), logdir: logdir.to_owned() }
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(self) -> Ended {
        self.run.wait()
    }

    /// Waits until it is some steps further than it is now, by what it says of itself.
    pub(crate) fn wait_for_progress(&mut self) {
        const SOME: u64 = 50;
        let start = self.step();
        self.wait_until("progress", |watched| watched.step() > start + SOME);
    }

    /// Waits until there is a newer checkpoint than now, and says which.
    pub(crate) fn wait_for_a_checkpoint(&mut self) -> u64 {
        let start = latest(&self.logdir);
        self.wait_until("a checkpoint", |watched| latest(&watched.logdir) > start.max(Some(0)));
        latest(&self.logdir).expect("there was one")
    }

    /// Waits until the losses file is longer than now.
    pub(crate) fn wait_for_losses(&mut self) {
        let start = last_step(&self.logdir);
        self.wait_until("losses", |watched| last_step(&watched.logdir) > start);
    }

    /// Waits until it says this, not counting what it has said up to now.
    pub(crate) fn wait_until_it_says(&mut self, text: &str, said_before: usize) {
        self.wait_until(text, |watched| watched.run.stderr()[said_before..].contains(text));
    }

    /// How much it has said.
    pub(crate) fn n_said(&self) -> usize {
        self.run.stderr().len()
    }

    fn step(&self) -> u64 {
        let stdout = self.run.stdout();
        let steps = stdout.lines().rev().filter_map(|line| line.strip_prefix("{\"step\":"));
        let digits = steps.filter_map(|rest| rest.split(',').next()?.parse().ok());
        digits.max().unwrap_or_default()
    }

    fn wait_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        wait_until(what, || {
            assert!(self.run.is_running(), "{what}: it ended:\n{}", self.run.stderr());
            holds(self)
        });
    }
}

/// The step of the checkpoint that the state file calls the latest.
pub(crate) fn latest(logdir: &Path) -> Option<u64> {
    let state = std::fs::read_to_string(logdir.join("checkpoint")).ok()?;
    let (_, name) = state.split_once("model.ckpt-")?;
    name.split_once('.')?.0.parse().ok()
}

pub(crate) fn checkpoint(logdir: &Path, step: u64) -> PathBuf {
    logdir.join(format!("model.ckpt-{step}.safetensors"))
}
