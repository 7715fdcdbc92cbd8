//! The examples that a command works on; and `unisono data`, which gets them and looks at them.

pub mod fetch;
pub mod info;
pub(super) mod note;
pub mod open;

use std::process::ExitCode;

use clap::Subcommand;

use self::fetch::FetchArgs;
use self::info::InfoArgs;
pub(super) use self::open::{open, open_at};
use crate::program::process::Process;

/// What to do about a data set.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum DataCommand {
    /// Fetch MNIST or Fashion-MNIST into a folder
    #[command(after_help = "\
Examples:
  unisono data fetch
  unisono data fetch fashion-mnist --data-dir /data/fashion
  unisono data fetch --mirror http://files.example.org/mnist/
  unisono local --data-dir ./mnist/

Each file is held against the SHA-256 of the published one, so it does not
matter who sends it. What breaks off goes on from there when it is run again.
A proxy is taken from HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, but for NO_PROXY.

Exits with 0 when all four files are there, and 1 if one could not be had.")]
    Fetch(FetchArgs),
    /// Show what is in a data set, and what is wrong with it
    #[command(after_help = "\
Examples:
  unisono data info                   The digits that are built in
  unisono data info ./mnist/
  unisono data info ./emnist-letters/ --validation-size 1000

Any four IDX files of unsigned bytes are a data set: n images of any shape, and
n labels. The digest is what the tasks of a run compare.

Exits with 0 if a run can train on it, and 1 if not.")]
    Info(InfoArgs),
}

/// Does it.
///
/// # Errors
/// If a file cannot be had.
pub fn run_data(command: DataCommand, process: &Process) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Fetch(args) => fetch::run_fetch(&args, process),
        DataCommand::Info(args) => Ok(info::run_info(&args, process)),
    }
}
