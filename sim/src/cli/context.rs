//! The context of a command: the screen, the compute caches and the options of its runs.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Serialize;
use unisono_learn::Workload;
use unisono_terminal::output::Screen;

use crate::ComputeCaches;
use crate::cli::common::CommonArgs;
use crate::many::case::{Case, Source};
use crate::run::play::default_jobs;
use crate::run::played::{PlayOptions, Played};
use crate::show::capsule::Capsule;
use crate::show::report::{Explained, Report, explain};

/// The version of the format of all JSON documents.
pub(super) const SCHEMA: u32 = 1;

/// The JSON output of a command.
#[derive(Serialize)]
struct Document<T> {
    schema: u32,
    command: &'static str,
    #[serde(flatten)]
    result: T,
    exit_code: u8,
}

#[derive(Debug)]
pub(super) struct CommandContext {
    pub(super) screen: Screen,
    pub(super) caches: ComputeCaches,
    pub(super) options: PlayOptions,
    pub(super) jobs: NonZeroUsize,
    pub(super) json: bool,
}

impl CommandContext {
    pub(super) fn new(
        args: &CommonArgs,
        screen: &Screen,
        workload: &Workload,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            screen: screen.clone(),
            caches: ComputeCaches::new(workload.clone()),
            options: with_bug(PlayOptions::default(), "--plant", args.plant.as_deref())?,
            jobs: args.jobs.unwrap_or_else(default_jobs),
            json: args.json,
        })
    }

    /// Prints text for the user, unless the command prints JSON.
    pub(super) fn print_text(&self, line: &str) {
        if !self.json {
            self.screen.out(line);
        }
    }

    /// Prints the JSON document, if `--json` was given.
    pub(super) fn print_json(&self, document: &impl Serialize) -> anyhow::Result<()> {
        if self.json {
            self.screen.out(&serde_json::to_string(document)?);
        }
        Ok(())
    }

    /// Ends a command: prints the result as JSON, if `--json` was given, and returns the exit code.
    pub(super) fn conclude(
        &self,
        command: &'static str,
        result: impl Serialize,
        exit_code: u8,
    ) -> anyhow::Result<u8> {
        self.print_json(&Document { schema: SCHEMA, command, result, exit_code })?;
        Ok(exit_code)
    }

    /// Plays a failing run again with a trace, writes its failure capsule, and returns the report.
    /// `file` returns the path of the capsule.
    pub(super) fn keep(
        &self,
        source: &Source,
        case: &Case,
        first: &Played,
        options: PlayOptions,
        file: impl FnOnce(&Capsule) -> PathBuf,
    ) -> anyhow::Result<Report> {
        let Explained { report, played } =
            explain(&source.name(), case, first, &self.caches, options);
        let failure = first.failure.as_ref().expect("only failures are kept");
        let capsule = Capsule::new(&source.path, case, failure, &played);
        let capsule = Capsule { bug: bug_of(&options), ..capsule };
        let path = capsule.save(file(&capsule))?;
        Ok(report.kept_in(&path.display().to_string()))
    }

    /// Returns the name of the planted bug.
    pub(super) fn bug_name(&self) -> Option<String> {
        bug_of(&self.options)
    }

    /// Returns the context's options, with the bug of the failure capsule if the capsule names a
    /// bug.
    pub(super) fn options_for(&self, capsule: &Capsule) -> anyhow::Result<PlayOptions> {
        with_bug(self.options, "the capsule has the planted bug", capsule.bug.as_deref())
    }
}

/// Returns the name of the bug that the options plant.
#[cfg(feature = "planted-bugs")]
fn bug_of(options: &PlayOptions) -> Option<String> {
    options.bug.map(|bug| bug.name().to_owned())
}

#[cfg(not(feature = "planted-bugs"))]
const fn bug_of(_: &PlayOptions) -> Option<String> {
    None
}

/// Returns `options` unchanged if `bug` is `None`. Any bug is an error, because this program
/// contains no planted bugs. The error message begins with `asked`.
#[cfg(not(feature = "planted-bugs"))]
fn with_bug(options: PlayOptions, asked: &str, bug: Option<&str>) -> anyhow::Result<PlayOptions> {
    match bug {
        None => Ok(options),
        Some(bug) => Err(super::sources::usage(format!(
            "{asked} {bug}: this program has no planted bugs; `unisono-sim bugs --bug {bug}` builds \
             the program that has them, target/bugs/build/debug/unisono-sim"
        ))),
    }
}

#[cfg(feature = "planted-bugs")]
fn with_bug(options: PlayOptions, _: &str, bug: Option<&str>) -> anyhow::Result<PlayOptions> {
    let bug = bug.map(named_bug).transpose()?;
    Ok(PlayOptions { bug: bug.or(options.bug), ..options })
}

#[cfg(feature = "planted-bugs")]
pub(super) fn named_bug(name: &str) -> anyhow::Result<unisono_core::planted::Bug> {
    unisono_core::planted::Bug::from_name(name).ok_or_else(|| {
        super::sources::usage(format!("unknown bug {name}; `unisono-sim bugs` lists all bugs"))
    })
}
