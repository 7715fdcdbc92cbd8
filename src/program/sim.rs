//! `unisono sim`: runs the program `unisono-sim`, the simulator.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

const PROGRAM: &str = "unisono-sim";

/// Replaces this process by `unisono-sim`, so that the caller gets the exit code of `unisono-sim`.
///
/// # Errors
/// If the program cannot be executed.
pub fn run_sim(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let error = Command::new(program()).args(arguments).exec();
    Err(error).with_context(|| {
        format!(
            "cannot run {PROGRAM}: it is neither beside this program nor in PATH; \
             `cargo build --release -p {PROGRAM}` builds it"
        )
    })
}

/// Returns the path of `unisono-sim` in the folder of this program, because that file has the same
/// version. If there is none, returns the name to look up in `PATH`.
fn program() -> PathBuf {
    std::env::current_exe()
        .map(|own| own.with_file_name(PROGRAM))
        .ok()
        .filter(|beside| beside.is_file())
        .unwrap_or_else(|| PROGRAM.into())
}
