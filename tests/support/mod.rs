//! Runs the built program as a user does, in a folder of its own, and reads what it leaves there.
//!
//! Every process gets the folder's path on its command line; that is how those that it started are
//! found, in `/proc`, and how none of them outlives its test.

#![allow(dead_code, reason = "each test program uses a part of this")]

mod data;
mod files;
mod hand_started;
mod process;
mod program;
mod shaped_link;

#[allow(unused_imports, reason = "as above")]
pub(crate) use data::{DataDir, Labels};
#[allow(unused_imports, reason = "as above")]
pub(crate) use files::{Bits, Listing, last_step, rows};
#[allow(unused_imports, reason = "as above")]
pub(crate) use hand_started::{HandStarted, Role, hand_over};
#[allow(unused_imports, reason = "as above")]
pub(crate) use process::{Ended, Process, send, task_of_local, tasks_in, wait_until};
#[allow(unused_imports, reason = "as above")]
pub(crate) use program::program;
#[allow(unused_imports, reason = "as above")]
pub(crate) use shaped_link::{Shape, shaped_link};

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A folder for the logdir and whatever else a test needs; nothing that runs in it outlives it.
#[derive(Debug)]
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::with_prefix("unisono-").expect("a folder can be made"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn logdir(&self) -> PathBuf {
        self.join("logdir")
    }

    /// `unisono` with these words, then the logdir; started by the caller.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = unisono(words);
        command.arg("--logdir").arg(self.logdir());
        command
    }

    pub(crate) fn start(&self, words: &str) -> Process {
        Process::start(self.command(words))
    }

    /// Runs it to its end, whichever that is.
    pub(crate) fn run(&self, words: &str) -> Ended {
        self.start(words).wait()
    }

    /// The run's losses and final tensors; it must succeed.
    pub(crate) fn bits_of(&self, words: &str) -> Bits {
        self.run(words).expect_code(0);
        Bits::read(&self.logdir())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for pid in tasks_in(self.path()) {
            send("KILL", pid);
        }
    }
}

/// The losses and final tensors of a run in a folder of its own.
pub(crate) fn bits_of(words: &str) -> Bits {
    Folder::new().bits_of(words)
}

/// `unisono` with these words, where `""` is an empty one.
pub(crate) fn unisono(words: &str) -> Command {
    let mut command = Command::new(program());
    let words = words.split_whitespace().map(|word| word.trim_matches('"'));
    command.args(words).env_remove("UNISONO_LOG").env_remove("UNISONO_SIMD");
    command.env_remove("UNISONO_INCARNATION");
    command
}

/// A file that the repository keeps.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
