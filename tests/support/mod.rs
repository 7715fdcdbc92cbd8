//! Runs the built program as a user does, in a folder of its own, and reads the files in that
//! folder.
//!
//! Every process has the folder's path on its command line. By that path, a test finds its
//! processes in `/proc` and kills them at its end.

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

/// A temporary folder for the logdir and other files. Dropping it kills all processes that run in
/// it.
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

    /// Returns the command `unisono` with these words and the logdir.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = unisono(words);
        command.arg("--logdir").arg(self.logdir());
        command
    }

    pub(crate) fn start(&self, words: &str) -> Process {
        Process::start(self.command(words))
    }

    /// Runs the program to its end, successful or not.
    pub(crate) fn run(&self, words: &str) -> Ended {
        self.start(words).wait()
    }

    /// Runs the program, which must succeed, and returns the losses and the final tensors.
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

/// Runs the program in a new folder, and returns the losses and the final tensors.
pub(crate) fn bits_of(words: &str) -> Bits {
    Folder::new().bits_of(words)
}

/// Returns the command `unisono` with these words. The word `""` is an empty argument.
pub(crate) fn unisono(words: &str) -> Command {
    let mut command = Command::new(program());
    let words = words.split_whitespace().map(|word| word.trim_matches('"'));
    command.args(words).env_remove("UNISONO_LOG").env_remove("UNISONO_SIMD");
    command.env_remove("UNISONO_INCARNATION");
    command
}

/// Returns the path of a file in `fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
