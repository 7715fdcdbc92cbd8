//! The production program, built from this source, and folders for its files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::files::Bits;
use crate::process::{Process, send, tasks_in};

/// A folder for a logdir. Dropping it kills the processes that run in it.
#[derive(Debug)]
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::with_prefix("unisono-").expect("a folder can be made"))
    }

    pub(crate) fn logdir(&self) -> PathBuf {
        self.0.path().join("logdir")
    }

    /// Runs a command, which must succeed, and reads the bits of its files.
    pub(crate) fn bits_of(&self, words: &str) -> Bits {
        let mut command = unisono(words);
        command.arg("--logdir").arg(self.logdir());
        Process::start(command).wait().expect_code(0);
        Bits::read(&self.logdir())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        tasks_in(self.0.path()).into_iter().for_each(|pid| send("KILL", pid));
    }
}

/// Returns a command of `unisono` with these arguments.
pub(crate) fn unisono(words: &str) -> Command {
    let mut command = Command::new(program());
    command.args(words.split_whitespace()).env_remove("UNISONO_LOG").env_remove("UNISONO_SIMD");
    command
}

/// Builds the program and returns its path. Cargo builds only the programs of the tested package,
/// so a program of another package that lies in the folder may be out of date.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_BIN_EXE_unisono-sim")).with_file_name("unisono");
        let profile = program.parent().expect("the program is in a folder");
        let target = profile.parent().expect("the folder is in the target folder");
        let is_release = profile.ends_with("release");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Building a test of that package also builds its program, with the features that the tests
        // of all packages use.
        build.args(["build", "--quiet", "--package", "unisono", "--package", "unisono-sim"]);
        build.args(["--test", "cli"]);
        build.args(is_release.then_some("--release")).arg("--target-dir").arg(target);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        // Cargo sets these variables for the tests of this package. Ring's build script reads them,
        // so it would run again, and Cargo would rebuild all crates that depend on ring.
        for (name, _) in std::env::vars_os() {
            let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
            if of_package.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                build.env_remove(name);
            }
        }
        assert!(build.status().expect("cargo starts").success());
        program
    })
}
