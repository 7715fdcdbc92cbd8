//! Compares the bits of a run with a second implementation, and with runs on other CPUs.

#![allow(missing_docs, reason = "a test program")]

mod cpus;
mod independent;
#[path = "../support/program.rs"]
mod program;

use std::ffi::OsStr;
use std::process::Command;

use tempfile::TempDir;

/// The files of a finished run.
struct Run {
    losses: String,
    checkpoint: Vec<u8>,
}

/// Runs `unisono reference`, through the command `launcher` if it is not empty.
fn reference(launcher: &[&str], flags: &[impl AsRef<OsStr>]) -> Run {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let output = unisono(launcher)
        .args(["reference", "--progress", "none", "--logdir"])
        .arg(folder.path())
        .args(flags)
        .output()
        .expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{launcher:?}: {}: {error}", output.status);
    let latest = std::fs::read_dir(folder.path())
        .expect("the folder exists")
        .map(|entry| entry.expect("the folder can be listed").path())
        .find(|path| path.extension() == Some(OsStr::new("safetensors")));
    Run {
        losses: std::fs::read_to_string(folder.path().join("losses.csv")).expect("losses"),
        checkpoint: std::fs::read(latest.expect("a checkpoint")).expect("the file can be read"),
    }
}

/// Returns a command for the program under test, without environment variables that affect it.
fn unisono(launcher: &[&str]) -> Command {
    let program = program::program();
    let mut command = match launcher {
        [] => Command::new(program),
        [emulator, arguments @ ..] => {
            let mut command = Command::new(emulator);
            command.args(arguments).arg(program);
            command
        }
    };
    command.env_remove("UNISONO_LOG").env_remove("UNISONO_SIMD");
    command
}
