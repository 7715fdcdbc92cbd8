//! `unisono sim`: becomes the simulator's program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

const PROGRAM: &str = "unisono-sim";

/// Replaces this process by `unisono-sim`, whose exit code is then this one's.
///
/// # Errors
/// If there is no such program.
pub fn run_sim(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let error = Command::new(program()).args(arguments).exec();
    Err(error).with_context(|| {
        format!(
            "cannot run {PROGRAM}: it is neither beside this program nor in PATH; \
             `cargo build --release -p {PROGRAM}` makes it"
        )
    })
}

/// The one that was built with this program, else the one in `PATH`.
fn program() -> PathBuf {
    std::env::current_exe()
        .map(|own| own.with_file_name(PROGRAM))
        .ok()
        .filter(|beside| beside.is_file())
        .unwrap_or_else(|| PROGRAM.into())
}
