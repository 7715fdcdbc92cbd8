//! Flags that several commands share.

use clap::Args;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Parses a number that is not zero. The message of the standard library speaks of types.
pub(super) fn from_one<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "it must be a whole number from 1")
}

/// The folder beside a scenario file for the capsules of its failures.
pub(super) const CAPSULES: &str = "capsules";

/// Flags that all commands have.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct CommonArgs {
    /// Runs side by side [default: one a core]
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroUsize>, help_heading = "Common")]
    pub(super) jobs: Option<NonZeroUsize>,
    /// Print one JSON document instead of text
    #[arg(long, help_heading = "Common")]
    pub(super) json: bool,
    /// Plant this bug in all nodes; `unisono-sim bugs` lists them. Only in a build with
    /// `--features planted-bugs`
    #[arg(long, value_name = "BUG", help_heading = "Common")]
    pub(super) plant: Option<String>,
}

/// Where failures are kept.
#[derive(Args, Clone, Debug)]
pub(super) struct CapsuleArgs {
    /// Folder in which failing runs are kept [default: `capsules`, beside the scenario file]
    #[arg(long, value_name = "DIR")]
    pub(super) capsules: Option<PathBuf>,
}

impl CapsuleArgs {
    /// The folder for the capsules of a scenario file.
    pub(super) fn folder(&self, scenario: &Path) -> PathBuf {
        self.capsules.clone().unwrap_or_else(|| scenario.with_file_name(CAPSULES))
    }
}
