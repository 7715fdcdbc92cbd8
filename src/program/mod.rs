//! The command line of `unisono`: parses the arguments, runs the command, and returns the exit
//! code. This module makes no decisions about training.
//!
//! [`args`] parses and validates the command line. Each command has its own file, which also
//! contains the type of its configuration.

mod action;
pub mod args;
pub mod argv;
pub mod audit;
mod built_in;
pub mod certs;
mod cluster;
pub mod convert;
pub mod data;
pub mod doctor;
pub mod eval;
mod exit_codes;
mod handed_document;
pub mod inspect;
pub mod local;
pub mod reference;
pub mod report;
pub mod sim;
pub mod top;
pub mod trace;

use std::process::ExitCode;

use anyhow::Context as _;
use listenfd::ListenFd;

use self::argv::CommandLine;
use self::exit_codes::exit_code;
use unisono_config::Environment;
use unisono_core::ids::{Incarnation, Job};
use unisono_learn::Workload;
use unisono_terminal::output::{Screen, logging};
use unisono_terminal::{UsageError, in_one_line, manual, signals};

pub use self::action::Action;
pub use args::ParseError;
pub use unisono_task::process::Process;
pub use unisono_task::stop::{ParentWatch, StopReason, StopRequests};
pub use unisono_task::task_config::TaskConfig;
use unisono_task::{incarnation, ps, worker};

/// Runs the program `unisono`.
#[must_use]
pub fn main() -> ExitCode {
    main_with(&built_in::workload())
}

/// Runs a program with all commands of `unisono`, which trains the given workload.
#[must_use]
pub fn main_with(workload: &Workload) -> ExitCode {
    let clock = incarnation::clock();
    // `from_env` removes environment variables, so it runs first, while there is only one thread.
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
    let action = match args::parse(&line, &environment, workload) {
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
    match run(
        action,
        workload,
        Process { incarnation, listener, screen: screen.clone(), parent: None },
    ) {
        Ok(code) => screen.conclude(code),
        Err(error) => report(&screen, &error),
    }
}

fn run(action: Action, workload: &Workload, mut process: Process) -> anyhow::Result<ExitCode> {
    match action {
        Action::Task(config) => {
            if config.exit_with_parent {
                process.parent = Some(ParentWatch::start().context("cannot watch the parent")?);
            }
            match config.task.job {
                Job::Ps => ps::run_ps(config, process),
                Job::Worker => worker::run_worker(config, workload, process),
            }
        }
        Action::Local(config) => local::run_local(&config, workload, &process),
        Action::Reference(config) => reference::run_reference(config, workload, process),
        Action::Eval(config) => eval::run_eval(config, workload, process),
        Action::Audit(logdir) => audit::run_audit(&logdir, &process),
        Action::Data(command) => data::run_data(command, &process),
        Action::Doctor(config) => Ok(doctor::run_doctor(&config, workload, &process)),
        Action::Completions(shell) => Ok(manual::run_completions(
            shell,
            workload.name().unwrap_or("unisono"),
            &args::command(workload),
            &process.screen,
        )),
        Action::Man(args) => manual::run_man(&args, args::command(workload), &process.screen),
        Action::Report(config) => report::run_report(&config, &process),
        Action::Trace(config) => trace::run_trace(&config, &process),
        Action::Certs(config) => certs::run_certs(&config, &process),
        Action::Top(config) => top::run_top(&config, &process),
        Action::Inspect(config) => inspect::run_inspect(&config, &process),
        Action::Convert(config) => convert::run_convert(&config, &process),
        Action::Sim(arguments) => sim::run_sim(arguments),
    }
}

fn report(screen: &Screen, error: &anyhow::Error) -> ExitCode {
    screen.error(&in_one_line(error));
    ExitCode::from(exit_code(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_is_reported_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write x: {source}; choose another file")]
        struct Told {
            source: std::io::Error,
        }
        let error = anyhow::Error::new(Told { source: std::io::Error::other("full") });
        assert_eq!(in_one_line(&error), "cannot write x: full; choose another file");
        let error = error.context("ps 0 cannot go on");
        assert_eq!(
            in_one_line(&error),
            "ps 0 cannot go on: cannot write x: full; choose another file"
        );
        assert_eq!(
            in_one_line(&UsageError(error).into()),
            "ps 0 cannot go on: cannot write x: full; choose another file"
        );
    }
}
