//! Flags that several commands share.

use clap::Args;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Parses a number of at least 1. The standard library's error text is not shown, because it names
/// a Rust type.
pub(super) fn from_one<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "the value must be a whole number of at least 1")
}

/// The name of the folder for failure capsules. The folder is beside the scenario file.
pub(super) const CAPSULES: &str = "capsules";

/// Flags that all commands have.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct CommonArgs {
    /// Runs to play at the same time [default: one per core]
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroUsize>, help_heading = "Common")]
    pub(super) jobs: Option<NonZeroUsize>,
    /// Print one JSON document instead of text
    #[arg(long, help_heading = "Common")]
    pub(super) json: bool,
    /// Plant this bug in all nodes. The flag works only in the program that `unisono-sim bugs`
    /// builds
    #[arg(long, value_name = "BUG", help_heading = "Common")]
    pub(super) plant: Option<String>,
}

/// The flag for the folder of failure capsules.
#[derive(Args, Clone, Debug)]
pub(super) struct CapsuleArgs {
    /// Folder for the capsules of failing runs [default: `capsules`, beside the scenario file]
    #[arg(long, value_name = "DIR")]
    pub(super) capsules: Option<PathBuf>,
}

impl CapsuleArgs {
    /// Returns the folder for the failure capsules of a scenario file.
    pub(super) fn folder(&self, scenario: &Path) -> PathBuf {
        self.capsules.clone().unwrap_or_else(|| scenario.with_file_name(CAPSULES))
    }
}
