//! `bugs`: tests whether each bug of the catalogue is caught.

use std::num::NonZeroU64;
use std::path::PathBuf;
#[cfg(not(feature = "planted-bugs"))]
use std::process::Command;

#[cfg(not(feature = "planted-bugs"))]
use anyhow::{Context as _, ensure};
use clap::Args;

use super::context::CommandContext;
#[cfg(not(feature = "planted-bugs"))]
use crate::bugs::weave;
use crate::cli::common::{CapsuleArgs, CommonArgs, from_one};

#[derive(Args, Debug)]
pub(super) struct BugsArgs {
    /// Scenario files and folders
    #[arg(value_name = "PATH", default_value = "scenarios")]
    pub(super) paths: Vec<PathBuf>,
    /// Number of runs within which each bug must be caught
    #[arg(long, value_name = "N", default_value = "2000", value_parser = from_one::<NonZeroU64>)]
    pub(super) seeds: NonZeroU64,
    /// Search only for this bug; may be repeated
    #[arg(long, value_name = "BUG")]
    pub(super) bug: Vec<String>,
    /// Also run the tests that plant bugs: protocol tests of unisono-core, and crash tests of
    /// unisono-files
    #[arg(long)]
    pub(super) tests: bool,
    /// Print the table as Markdown
    #[arg(long, conflicts_with = "json")]
    pub(super) markdown: bool,
    #[command(flatten)]
    pub(super) capsules: CapsuleArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Adds the bugs to a copy of the tree, builds the copy, and runs the command `bugs` of the built
/// program.
#[cfg(not(feature = "planted-bugs"))]
pub(super) fn bugs(args: &BugsArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let here = std::env::current_dir().context("cannot find the working folder")?;
    let root = weave::find_tree(&here).map_err(unisono_terminal::usage)?;
    let folder = root.join("target/bugs");
    let tree = folder.join("tree");
    weave::weave(root, &tree)?;
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&tree).env("CARGO_TARGET_DIR", folder.join("build"));
        // The copy shares build results with the tree, such as compiled dependencies.
        command.env("CARGO_BUILD_BUILD_DIR", root.join("target"));
        context.print_text(&format!("target/bugs/tree: cargo {}", arguments.join(" ")));
        let status = command.status().context("cannot start cargo")?;
        ensure!(status.success(), "cargo {} failed in {}", arguments.join(" "), tree.display());
        Ok(())
    };
    if args.tests {
        cargo(&["test", "-p", "unisono-core", "--test", "protocol", "planted"])?;
        cargo(&["test", "-p", "unisono-files", "--lib", "planted"])?;
    }
    cargo(&["build", "-p", "unisono-sim", "--features", "planted-bugs", "--bins"])?;
    let program = folder.join("build/debug/unisono-sim");
    let status = Command::new(&program).args(std::env::args_os().skip(1)).status();
    let status = status.with_context(|| format!("cannot start {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.with_context(|| format!("{} ended with {status}", program.display()))
}

#[cfg(feature = "planted-bugs")]
pub(super) use planted::bugs;

#[cfg(feature = "planted-bugs")]
mod planted {
    use serde::Serialize;
    use unisono_core::planted::Bug;

    use super::super::context::named_bug;
    use super::super::progress::Progress;
    use super::super::sources;
    use super::{BugsArgs, CommandContext};
    use crate::durations::short;
    use crate::many::case::{Case, Source};
    use crate::many::pool;
    use crate::run::failure::Failure;
    use crate::run::played::{PlayOptions, Played};
    use crate::show::capsule::Capsule;

    /// Plants one bug after another, and reports which runs catch each bug.
    pub(in super::super) fn bugs(args: &BugsArgs, context: &CommandContext) -> anyhow::Result<u8> {
        let plan = BugHuntPlan::new(sources::load_all(&args.paths, context.caches.workload())?);
        let named: Vec<_> =
            args.bug.iter().map(|name| named_bug(name)).collect::<anyhow::Result<_>>()?;
        let bugs = if named.is_empty() { Bug::ALL } else { &named };
        let progress = Progress::new(&context.screen, Some(bugs.len() as u64));
        let width = bugs.iter().map(|bug| bug.name().len()).max().unwrap_or(0);
        let mut rows = Vec::new();
        if args.markdown {
            context.print_text(
                "| bug | rule | what it does | caught by | in | runs |\n|---|---|---|---|---|---|",
            );
        }
        for &bug in bugs {
            progress.note(bug.name());
            let row = hunt(bug, args, &plan, context)?;
            progress.step();
            context.print_text(&if args.markdown { row.markdown() } else { row.text(width) });
            rows.push(row);
        }
        progress.finish();
        let elapsed = progress.elapsed();
        let n_caught = rows.iter().filter(|row| row.is_caught()).count();
        if !args.markdown {
            let n_bugs = rows.len();
            context
                .print_text(&format!("{n_caught} of {n_bugs} bugs caught in {}", short(elapsed)));
        }
        let exit_code = u8::from(n_caught < rows.len());
        let (seeds, elapsed_secs) = (args.seeds.get(), elapsed.as_secs_f64());
        context.conclude("bugs", Document { seeds, bugs: rows, elapsed_secs }, exit_code)
    }

    /// The order of the runs that search for one planted bug. Scenarios with and without a section
    /// `[chaos]` alternate, because some bugs are found faster with drawn faults, and others with
    /// listed faults.
    struct BugHuntPlan {
        chaos: Vec<Source>,
        stories: Vec<Source>,
    }

    impl BugHuntPlan {
        fn new(sources: Vec<Source>) -> Self {
            let is_chaos = |source: &Source| source.scenario.chaos.is_some();
            let (chaos, stories) = sources.into_iter().partition(is_chaos);
            Self { chaos, stories }
        }

        fn at(&self, number: u64) -> (&Source, u64) {
            let (sources, number) = match (&*self.chaos, &*self.stories) {
                ([], stories) => (stories, number),
                (chaos, []) => (chaos, number),
                (chaos, _) if number.is_multiple_of(2) => (chaos, number / 2),
                (_, stories) => (stories, number / 2),
            };
            let n_sources = sources.len() as u64;
            (&sources[(number % n_sources) as usize], number / n_sources)
        }
    }

    #[derive(Serialize)]
    struct Document {
        seeds: u64,
        bugs: Vec<Row>,
        elapsed_secs: f64,
    }

    /// The result of one bug.
    #[derive(Serialize)]
    struct Row {
        bug: &'static str,
        rule: u8,
        description: &'static str,
        needs: &'static str,
        /// The signature of the first run that failed.
        caught_by: Option<String>,
        scenario: Option<String>,
        seed: Option<u64>,
        /// Number of runs up to and including the first run that failed, or of all runs if none
        /// failed.
        runs: u64,
        /// The path of the failure capsule of the first run that failed; `None` if no run failed.
        capsule: Option<String>,
    }

    /// Returns whether a failure shows that the planted bug was caught. The failure
    /// `FaultWithoutEffect` does not show that, because the bug may only have kept the run from
    /// reaching the fault.
    fn is_catch(failure: &Failure) -> bool {
        !matches!(failure, Failure::FaultWithoutEffect { .. })
    }

    fn hunt(
        bug: Bug,
        args: &BugsArgs,
        plan: &BugHuntPlan,
        context: &CommandContext,
    ) -> anyhow::Result<Row> {
        let options = |bug| PlayOptions { bug, ..context.options };
        let play = |case: &Case, bug| {
            let run = case.brief(&context.caches, options(bug));
            let is_caught = run.failure.as_ref().is_some_and(is_catch);
            is_caught.then_some(run)
        };
        let found = pool::first(context.jobs, 0..args.seeds.get(), |number| {
            let (source, seed) = plan.at(number);
            let case = source.case(seed);
            // If the run also fails without the bug, the failure does not show that the bug was
            // caught.
            play(&case, Some(bug)).filter(|_| play(&case, None).is_none())
        });
        let place = found.as_ref().map(|(number, _)| plan.at(*number));
        let keep = |((source, seed), run): ((&Source, u64), &Played)| {
            let folder = args.capsules.folder(&source.path);
            let file = |capsule: &Capsule| capsule.file_in(&folder);
            context.keep(source, &source.case(seed), run, options(Some(bug)), file)
        };
        let run = found.as_ref().map(|(_, run)| run);
        let report = place.zip(run).map(keep).transpose()?;
        Ok(Row {
            bug: bug.name(),
            rule: bug.rule(),
            description: bug.description(),
            needs: bug.needs(),
            caught_by: report.as_ref().map(|report| report.signature.clone()),
            scenario: place.map(|(source, _)| source.name()),
            seed: place.map(|(_, seed)| seed),
            runs: found.map_or_else(|| args.seeds.get(), |(number, _)| number + 1),
            capsule: report.and_then(|report| report.capsule),
        })
    }

    impl Row {
        const fn is_caught(&self) -> bool {
            self.caught_by.is_some()
        }

        fn place(&self) -> String {
            match (&self.scenario, self.seed) {
                (Some(scenario), Some(seed)) => format!("{scenario}, seed {seed}"),
                _ => String::new(),
            }
        }

        fn verdict(&self) -> &str {
            self.caught_by.as_deref().unwrap_or("NOT CAUGHT")
        }

        fn text(&self, width: usize) -> String {
            let mark = if self.is_caught() { '✓' } else { '✗' };
            let Self { bug, rule, runs, .. } = self;
            let (verdict, place) = (self.verdict(), self.place());
            let line = format!(
                "{mark} {bug:width$}  rule {rule:<2}  {verdict:<36} {runs:>5} runs  {place:<44} {}",
                self.capsule.as_deref().unwrap_or_default()
            );
            line.trim_end().to_owned()
        }

        fn markdown(&self) -> String {
            let Self { bug, rule, description, runs, .. } = self;
            let rule = if *rule == 0 { "–".to_owned() } else { rule.to_string() };
            let (verdict, place) = (self.verdict(), self.place());
            format!("| `{bug}` | {rule} | {description} | {verdict} | {place} | {runs} |")
        }
    }
}
