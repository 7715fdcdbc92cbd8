//! The command line: argv in, exit code out. Nothing here decides anything about training.
//!
//! [`args`] parses and validates; each command has a file, with the type that it takes.

mod action;
pub mod args;
pub mod argv;
pub mod audit;
pub mod certs;
mod cluster;
mod console;
pub mod convert;
pub mod data;
pub mod doctor;
pub mod eval;
mod evaluation;
mod events;
mod fresh;
mod incarnation;
pub mod inspect;
mod ledger;
mod listen;
pub mod local;
pub mod manual;
mod metrics;
pub mod output;
mod pace;
pub mod ps;
pub mod reference;
pub mod report;
pub mod signals;
pub mod sim;
pub mod stop;
mod task;
pub mod top;
pub mod trace;
pub mod worker;

use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::Context as _;
use listenfd::ListenFd;

use self::argv::CommandLine;
use self::output::{Screen, logging};
use crate::config::Environment;
use crate::ids::{Incarnation, Job};
use crate::protocol::Failure;

pub use action::{Action, TaskConfig};
pub use args::ParseError;
pub use stop::{ParentWatch, StopReason, StopRequests};

/// It could not go on.
const EXIT_FAILURE: u8 = 1;
/// A wrong command line or configuration.
const EXIT_USAGE: u8 = 2;
/// The training itself came to nothing: a loss that is no number.
const EXIT_NOT_FINITE: u8 = 3;
/// Given up waiting for others; engines take it for "start me again".
const EXIT_GAVE_UP: u8 = 138;

/// What a command gets from the process that it runs in.
#[derive(Debug)]
pub struct Process {
    /// The incarnation that the supervisor gave this process, or the clock at its start. A process
    /// that starts later has a larger one, however long either takes to begin.
    pub incarnation: Incarnation,
    /// The listening socket that the parent bound for this task, if it did.
    pub listener: Option<TcpListener>,
    /// Standard output and error.
    pub screen: Screen,
    /// The parent process, if this process is to end with it.
    pub parent: Option<ParentWatch>,
}

/// Marks an error as the user's, not the run's: the program exits with 2.
#[derive(Debug, thiserror::Error)]
#[error("{}", in_one_line(.0))]
pub struct UsageError(pub anyhow::Error);

/// The program `unisono`.
#[must_use]
pub fn main() -> ExitCode {
    let clock = incarnation::clock();
    // Before anything else, while there is one thread: it takes its variables out of the environment.
    let mut inherited = ListenFd::from_env();
    let line = CommandLine::read(std::env::args_os());
    let screen = Screen::new();
    if let Err(error) = signals::take_file_size_errors().context("cannot take signals") {
        return report(&screen, &error);
    }
    let listener = match inherited.take_tcp_listener(0).context("the inherited socket") {
        Ok(listener) => listener,
        Err(error) => return report(&screen, &error),
    };
    let incarnation = match incarnation::counted() {
        Ok(counted) => Incarnation::first(counted.unwrap_or(clock), None),
        Err(error) => return report(&screen, &UsageError(error).into()),
    };
    let environment = Environment::of_process();
    let action = match args::parse(&line, &environment) {
        Ok(action) => action,
        Err(ParseError::Clap(error)) => return screen.usage(&error),
        Err(ParseError::Config(error)) => {
            return report(&screen, &UsageError(error).into());
        }
    };
    let (log_format, task) = action.log();
    screen.set_form(log_format, task);
    logging::init(&screen);
    action.notes().iter().for_each(|note| tracing::warn!("{note}"));
    match run(action, Process { incarnation, listener, screen: screen.clone(), parent: None }) {
        Ok(code) => screen.conclude(code),
        Err(error) => report(&screen, &error),
    }
}

fn run(action: Action, mut process: Process) -> anyhow::Result<ExitCode> {
    match action {
        Action::Task(config) => {
            if config.exit_with_parent {
                process.parent = Some(ParentWatch::start().context("cannot watch the parent")?);
            }
            match config.task.job {
                Job::Ps => ps::run_ps(config, process),
                Job::Worker => worker::run_worker(config, process),
            }
        }
        Action::Local(config) => local::run_local(&config, &process),
        Action::Reference(config) => reference::run_reference(config, process),
        Action::Eval(config) => eval::run_eval(config, process),
        Action::Audit(logdir) => audit::run_audit(&logdir, &process),
        Action::Data(command) => data::run_data(command, &process),
        Action::Doctor(config) => Ok(doctor::run_doctor(&config, &process)),
        Action::Completions(shell) => {
            Ok(manual::run_completions(shell, "unisono", &args::command(), &process.screen))
        }
        Action::Man(args) => manual::run_man(&args, args::command(), &process.screen),
        Action::Report(config) => report::run_report(&config, &process),
        Action::Trace(config) => trace::run_trace(&config, &process),
        Action::Certs(config) => certs::run_certs(&config, &process),
        Action::Top(config) => top::run_top(&config, &process),
        Action::Inspect(config) => inspect::run_inspect(&config, &process),
        Action::Convert(config) => convert::run_convert(&config, &process),
        Action::Sim(arguments) => sim::run_sim(arguments),
    }
}

/// Marks an error as the user's.
fn usage(error: anyhow::Error) -> anyhow::Error {
    UsageError(error).into()
}

fn report(screen: &Screen, error: &anyhow::Error) -> ExitCode {
    screen.error(&in_one_line(error));
    ExitCode::from(exit_code(error))
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let of_cause = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(Failure::NonFinite { .. }) => Some(EXIT_NOT_FINITE),
        Some(Failure::GaveUp(_)) => Some(EXIT_GAVE_UP),
        _ => cause.is::<UsageError>().then_some(EXIT_USAGE),
    };
    error.chain().find_map(of_cause).unwrap_or(EXIT_FAILURE)
}

/// An error and its causes, as `{:#}`, but for causes that the text before already tells.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write x: {source}; choose another")]
        struct Told {
            source: std::io::Error,
        }
        let error = anyhow::Error::new(Told { source: std::io::Error::other("full") });
        assert_eq!(in_one_line(&error), "cannot write x: full; choose another");
        let error = error.context("ps 0 cannot go on");
        assert_eq!(in_one_line(&error), "ps 0 cannot go on: cannot write x: full; choose another");
        assert_eq!(
            in_one_line(&UsageError(error).into()),
            "ps 0 cannot go on: cannot write x: full; choose another"
        );
    }
}
