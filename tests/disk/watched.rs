//! A run whose progress, log and checkpoints a test observes while it damages the disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Ended, Process, last_step, wait_until};

/// Flags of a small run.
pub(crate) const FLAGS: &str = "--hidden 32 --batch-size 20 --progress json";
/// Flags of a run that saves five times a second and ends only if the test ends it.
pub(crate) const ENDLESS: &str = "--hidden 32 --batch-size 20 --progress json \
                                  --save-model-secs 0.2 --training-steps 100000000";

pub(crate) struct Watched {
    run: Process,
    logdir: PathBuf,
}

impl Watched {
    /// Starts a run. `logdir` is the path of its logdir for the test's process.
    pub(crate) fn start(command: Command, logdir: &Path) -> Self {
        Self { run: Process::start(command), logdir: logdir.to_owned() }
    }

    /// Waits until the run ends by itself.
    pub(crate) fn end(self) -> Ended {
        self.run.wait()
    }

    /// Waits until the run has made some more steps, by its progress output.
    pub(crate) fn wait_for_progress(&mut self) {
        const SOME: u64 = 50;
        let start = self.step();
        self.wait_until("progress", |watched| watched.step() > start + SOME);
    }

    /// Waits for a newer checkpoint, and returns its step.
    pub(crate) fn wait_for_a_checkpoint(&mut self) -> u64 {
        let start = latest(&self.logdir);
        self.wait_until("a checkpoint", |watched| latest(&watched.logdir) > start.max(Some(0)));
        latest(&self.logdir).expect("there was one")
    }

    /// Waits until the losses of more steps are written.
    pub(crate) fn wait_for_losses(&mut self) {
        let start = last_step(&self.logdir);
        self.wait_until("losses", |watched| last_step(&watched.logdir) > start);
    }

    /// Waits until the log contains `text` after its first `log_len` bytes.
    pub(crate) fn wait_for_log(&mut self, text: &str, log_len: usize) {
        self.wait_until(text, |watched| watched.run.stderr()[log_len..].contains(text));
    }

    /// Returns the length of the log so far, in bytes.
    pub(crate) fn log_len(&self) -> usize {
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
            // A run that ended has logged everything, so the state is read after the question
            // whether it runs.
            let is_running = self.run.is_running();
            let holds = holds(self);
            assert!(holds || is_running, "{what}: the run ended:\n{}", self.run.stderr());
            holds
        });
    }
}

/// Returns the step of the latest checkpoint by the state file.
pub(crate) fn latest(logdir: &Path) -> Option<u64> {
    let state = std::fs::read_to_string(logdir.join("checkpoint")).ok()?;
    let (_, name) = state.split_once("model.ckpt-")?;
    name.split_once('.')?.0.parse().ok()
}

pub(crate) fn checkpoint(logdir: &Path, step: u64) -> PathBuf {
    logdir.join(format!("model.ckpt-{step}.safetensors"))
}
