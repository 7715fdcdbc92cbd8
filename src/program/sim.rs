//! `unisono sim`: runs the program `unisono-sim`, the simulator.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

const PROGRAM: &str = "unisono-sim";

/// Replaces this process by the program `unisono-sim`, so that the caller gets the exit code of
/// `unisono-sim`.
///
/// # Errors
/// Returns an error if the program cannot be executed.
pub fn run_sim(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let error = Command::new(program()).args(arguments).exec();
    Err(error).with_context(|| {
        format!(
            "cannot run {PROGRAM}: it is neither beside this program nor in PATH; \
             `cargo build --release -p {PROGRAM}` builds it"
        )
    })
}

/// Returns the path of `unisono-sim` in the folder of this program, because the file in that folder
/// has the same version as this program. If the folder has no such file, returns the name
/// `unisono-sim`, which the system looks up in `PATH`.
fn program() -> PathBuf {
    std::env::current_exe()
        .map(|own| own.with_file_name(PROGRAM))
        .ok()
        .filter(|beside| beside.is_file())
        .unwrap_or_else(|| PROGRAM.into())
}
