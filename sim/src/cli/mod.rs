//! The command line of `unisono-sim`: parses arguments, prints results and returns exit codes. The
//! other modules contain the simulator.

mod args;
mod bugs;
mod common;
mod context;
mod diff;
mod enumerate;
mod exit_codes;
mod gather;
mod hunt;
mod hunt_result;
mod merge;
mod progress;
mod replay;
mod replay_ledgers;
mod report;
mod run;
mod seeds;
mod shard;
mod shrink;
mod sources;
mod trace;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use unisono_learn::Workload;
use unisono_terminal::output::Screen;
use unisono_terminal::{UsageError, manual, signals};

use self::args::{Cli, Command};
use self::context::CommandContext;
use crate::cli::common::CommonArgs;
use crate::cli::exit_codes::EXIT_USAGE;
use crate::run::panics;
use crate::show::capsule::CapsuleError;

/// Runs `unisono-sim` with the arguments of the process, and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    main_with(&Workload::built_in(), std::env::args_os())
}

/// Runs a program with all commands of `unisono-sim`, which trains the given workload. The first
/// argument is the name of the program.
#[must_use]
pub fn main_with(
    workload: &Workload,
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> ExitCode {
    panics::keep_quiet();
    let screen = Screen::new();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return screen.usage(&error),
    };
    let taken = signals::take_file_size_errors().context("cannot take signals");
    match taken.and_then(|()| run(cli.command, &screen, workload)) {
        Ok(code) => screen.conclude(ExitCode::from(code)),
        Err(error) => {
            screen.bar().finish_and_clear();
            screen.err(&format!("error: {error:#}"));
            ExitCode::from(if is_usage(&error) { EXIT_USAGE } else { 1 })
        }
    }
}

fn run(command: Command, screen: &Screen, workload: &Workload) -> anyhow::Result<u8> {
    let context = |common: &CommonArgs| CommandContext::new(common, screen, workload);
    match command {
        Command::Run(args) => run::run(&args, &context(&args.common)?),
        Command::Hunt(args) => hunt::hunt(&args, &context(&args.common)?),
        Command::Merge(args) => merge::merge(&args, &context(&args.common())?),
        Command::Replay(args) => replay::replay(&args, &context(&args.common)?),
        Command::Shrink(args) => shrink::shrink(&args, &context(&args.common)?),
        Command::Enumerate(args) => enumerate::enumerate(&args, &context(&args.common)?),
        Command::Verify(args) => verify::verify(&args, &context(&args.common)?),
        Command::Fingerprint(args) => verify::fingerprint(&args, &context(&args.common)?),
        Command::Diff(args) => diff::diff(&args, &context(&args.common)?),
        Command::Report(args) => report::report(&args, &context(&args.common)?),
        Command::Trace(args) => trace::trace(&args, &context(&args.common)?),
        Command::Bugs(args) => bugs::bugs(&args, &context(&args.common)?),
        Command::Completions(shell) => {
            manual::run_completions(shell, "unisono-sim", &Cli::command(), screen);
            Ok(0)
        }
        Command::Man(args) => manual::run_man(&args, Cli::command(), screen).map(|_| 0),
    }
}

/// Returns whether the user can correct the error with another command line or another file.
fn is_usage(error: &anyhow::Error) -> bool {
    let is_unwritable = |error: &CapsuleError| matches!(error, CapsuleError::Unwritable { .. });
    error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.downcast_ref::<CapsuleError>().is_some_and(|error| !is_unwritable(error))
    })
}
