//! The bits of a run: those of a second implementation, and the same ones on other CPUs.

#![allow(missing_docs, reason = "a test program")]

mod cpus;
mod independent;
#[path = "../support/program.rs"]
mod program;

use std::ffi::OsStr;
use std::process::Command;

use tempfile::TempDir;

/// What a run left in its folder.
struct Run {
    losses: String,
    checkpoint: Vec<u8>,
}

/// `unisono reference`, started by `launcher` if that is not empty.
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
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .find(|path| path.extension() == Some(OsStr::new("safetensors")));
    Run {
        losses: std::fs::read_to_string(folder.path().join("losses.csv")).expect("losses"),
        checkpoint: std::fs::read(latest.expect("a checkpoint")).expect("it can be read"),
    }
}

/// The program under test, with no environment that changes what it does.
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
