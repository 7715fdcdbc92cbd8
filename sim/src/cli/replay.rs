//! `replay`: plays a failure again, or recomputes the run of a real cluster from its ledgers.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::context::CommandContext;
use super::replay_ledgers::{LedgerArgs, replay_ledgers};
use super::sources::{self, is_scenario, usage};
use crate::cli::common::CommonArgs;
use crate::durations::short;
use crate::many::case::Case;
use crate::run::played::{PlayOptions, Played};
use crate::show::capsule::{Build, Capsule, FailureNote};
use crate::show::report::{Report, explain};

#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// Capsule or scenario file
    #[arg(value_name = "CAPSULE|PATH", required_unless_present = "ledger")]
    path: Option<PathBuf>,
    /// Seed for a scenario file
    #[arg(long, value_name = "S", conflicts_with = "ledger")]
    seed: Option<u64>,
    #[command(flatten)]
    pub(super) ledgers: LedgerArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Plays a failure capsule or a scenario, or recomputes a run from its ledgers. For a failure
/// capsule, reports whether the run fails with the failure in the capsule.
pub(super) fn replay(args: &ReplayArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let Some(path) = &args.path else { return replay_ledgers(&args.ledgers, context) };
    match (is_scenario(path), args.seed) {
        (true, Some(seed)) => replay_seed(path, seed, context),
        (true, None) => Err(usage("a scenario file needs --seed")),
        (false, None) => replay_capsule(path, context),
        (false, Some(_)) => Err(usage("a capsule has its own seed; omit --seed")),
    }
}

fn replay_seed(path: &Path, seed: u64, context: &CommandContext) -> anyhow::Result<u8> {
    let source = sources::load(path, context.caches.workload())?;
    let case = source.case(seed);
    let (run, report) = play_again(&source.name(), &case, context, context.options);
    let report = report.map(|report| report.played_from(&path.display().to_string()));
    let outcome = if report.is_some() { Outcome::Fails } else { Outcome::Passes };
    finish(context, outcome, None, report, &run)
}

fn replay_capsule(path: &Path, context: &CommandContext) -> anyhow::Result<u8> {
    let capsule = Capsule::load(path)?;
    let options = context.options_for(&capsule)?;
    let opened = capsule.open(path)?;
    let name = Path::new(&capsule.path).file_stem().unwrap_or_default().to_string_lossy();
    let (run, report) = play_again(&name, &opened.case, context, options);
    let report = report.map(|report| report.kept_in(&path.display().to_string()));
    let outcome = match &report {
        None => Outcome::Passes,
        Some(report) if report.signature != capsule.failure.signature => Outcome::OtherFailure,
        Some(report) if report.audit != capsule.audit => Outcome::SameFailure,
        Some(_) => Outcome::Same,
    };
    finish(context, outcome, Some(&capsule), report, &run)
}

/// Plays a run. Also returns a report if the run fails.
fn play_again(
    name: &str,
    case: &Case,
    context: &CommandContext,
    options: PlayOptions,
) -> (Played, Option<Report>) {
    let run = case.brief(&context.caches, options);
    let fails = run.failure.is_some();
    let explained = fails.then(|| explain(name, case, &run, &context.caches, options));
    (run, explained.map(|explained| explained.report))
}

/// The result of comparing a run with its failure capsule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// The failure and the hash of all events are those in the failure capsule.
    Same,
    /// The failure is that in the failure capsule, but the hash of all events differs.
    SameFailure,
    /// The signature of the failure differs from that in the failure capsule.
    OtherFailure,
    /// The run fails, and there is no failure capsule to compare it with.
    Fails,
    /// The run does not fail.
    Passes,
}

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    /// The failure that the failure capsule names.
    expected: Option<&'a FailureNote>,
    expected_audit: Option<&'a str>,
    capsule_build: Option<&'a Build>,
    build: Build,
    seed: u64,
    audit: String,
    order: String,
    failure: Option<&'a Report>,
}

fn finish(
    context: &CommandContext,
    outcome: Outcome,
    capsule: Option<&Capsule>,
    report: Option<Report>,
    run: &Played,
) -> anyhow::Result<u8> {
    let exit_code = report.as_ref().map_or(0, |report| report.exit_code);
    if let Some(report) = &report {
        context.print_text(&report.to_string());
    }
    context.print_text(&verdict(outcome, capsule, run));
    let document = Document {
        outcome,
        expected: capsule.map(|capsule| &capsule.failure),
        expected_audit: capsule.map(|capsule| &*capsule.audit),
        capsule_build: capsule.map(|capsule| &capsule.build),
        build: Build::this(),
        seed: run.seed,
        audit: run.audit.to_string(),
        order: run.order.to_string(),
        failure: report.as_ref(),
    };
    context.conclude("replay", document, exit_code)
}

fn verdict(outcome: Outcome, capsule: Option<&Capsule>, run: &Played) -> String {
    let audit = run.audit;
    let Some(capsule) = capsule else {
        let how = if outcome == Outcome::Passes { "The run passes" } else { "The run fails" };
        let (took, n_events) = (short(run.took), run.n_events);
        let order = run.order;
        return format!(
            "{how}: {took} of virtual time, {n_events} events, audit {audit}, order {order}"
        );
    };
    let Capsule { failure, audit: before, build, .. } = capsule;
    let signature = &failure.signature;
    let builds = format!("the capsule is from version {build}, this program is {}", Build::this());
    match outcome {
        Outcome::Same => {
            format!("The run fails as in its capsule: failure {signature}, audit {audit}")
        }
        Outcome::SameFailure => format!(
            "The run fails as in its capsule ({signature}), but its events differ: audit {audit} \
             instead of {before}; {builds}"
        ),
        Outcome::OtherFailure => {
            format!(
                "The run fails differently; the failure in the capsule is {signature}; {builds}"
            )
        }
        Outcome::Passes | Outcome::Fails => {
            format!("The run passes, but its capsule has the failure {signature}; {builds}")
        }
    }
}
