//! `unisono data`: fetches or examines a data set.

pub mod fetch;
pub mod info;

use std::process::ExitCode;

use clap::Subcommand;

use self::fetch::FetchArgs;
use self::info::InfoArgs;
use unisono_task::process::Process;

/// The commands of `unisono data`.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum DataCommand {
    /// Fetch MNIST or Fashion-MNIST into a folder
    #[command(after_help = "\
Examples:
  unisono data fetch
  unisono data fetch fashion-mnist --data-dir /data/fashion
  unisono data fetch --mirror http://files.example.org/mnist/
  unisono local --data-dir ./mnist/

The SHA-256 of each file is compared with the published one, so any mirror is as
good. An interrupted download resumes when the command runs again. HTTPS_PROXY,
HTTP_PROXY, ALL_PROXY and NO_PROXY name proxies.

Exits with 0 if all four files are there, and 1 if one could not be fetched.")]
    Fetch(FetchArgs),
    /// Show the contents of a data set, and its defects
    #[command(after_help = "\
Examples:
  unisono data info                   The built-in digits
  unisono data info ./mnist/
  unisono data info ./emnist-letters/ --validation-size 1000

Any four IDX files of unsigned bytes are a data set: n images of any shape, and
n labels. The tasks of a run compare the digest.

Exits with 0 if a run can train on it, and 1 if not.")]
    Info(InfoArgs),
}

/// Runs a command of `unisono data`.
///
/// # Errors
/// Returns an error if a file cannot be fetched.
pub fn run_data(command: DataCommand, process: &Process) -> anyhow::Result<ExitCode> {
    match command {
        DataCommand::Fetch(args) => fetch::run_fetch(&args, process),
        DataCommand::Info(args) => Ok(info::run_info(&args, process)),
    }
}
