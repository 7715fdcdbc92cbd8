//! `replay`: plays a failure again, or recomputes the run of a real cluster from its ledgers.

use crate::cli::sources::is_scenario;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::context::{CommandContext, SCHEMA};
use super::replay_ledgers::{LedgerArgs, replay_ledgers};
use super::sources::{self, usage};
use crate::cli::common::CommonArgs;
use crate::durations::short;
use crate::many::case::Case;
use crate::many::tally::Brief;
use crate::run::played::PlayOptions;
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

/// Plays the run, and reports whether it fails as before.
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
    let source = sources::load(path)?;
    let again = Again::play(&source.name(), &source.case(seed), context, context.options);
    let report = again.report.map(|report| report.played_from(&path.display().to_string()));
    let outcome = if report.is_some() { Outcome::Fails } else { Outcome::Passes };
    finish(context, outcome, None, report, &again.run)
}

fn replay_capsule(path: &Path, context: &CommandContext) -> anyhow::Result<u8> {
    let capsule = Capsule::load(path)?;
    let options = context.options_for(&capsule)?;
    let opened = capsule.open(path)?;
    let name = Path::new(&capsule.path).file_stem().unwrap_or_default().to_string_lossy();
    let again = Again::play(&name, &opened.case, context, options);
    let report = again.report.map(|report| report.kept_in(&path.display().to_string()));
    let outcome = match &report {
        None => Outcome::Passes,
        Some(report) if report.signature != capsule.failure.signature => Outcome::OtherFailure,
        Some(report) if report.audit != capsule.audit => Outcome::SameFailure,
        Some(_) => Outcome::Same,
    };
    finish(context, outcome, Some(&capsule), report, &again.run)
}

struct Again {
    run: Brief,
    report: Option<Report>,
}

impl Again {
    fn play(name: &str, case: &Case, context: &CommandContext, options: PlayOptions) -> Self {
        let run = case.brief(&context.caches, options);
        let explained =
            run.failure.is_some().then(|| explain(name, case, &run, &context.caches, options));
        Self { run, report: explained.map(|explained| explained.report) }
    }
}

/// The comparison of a run with its capsule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// The same failure, and the same hash of all events.
    Same,
    /// The same failure, but another hash of all events.
    SameFailure,
    /// A failure with another signature.
    OtherFailure,
    /// A failure, without a capsule to compare it with.
    Fails,
    /// No failure.
    Passes,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    command: &'static str,
    outcome: Outcome,
    /// The failure in the capsule.
    expected: Option<&'a FailureNote>,
    expected_audit: Option<&'a str>,
    capsule_build: Option<&'a Build>,
    build: Build,
    seed: u64,
    audit: String,
    order: String,
    failure: Option<&'a Report>,
    exit_code: u8,
}

fn finish(
    context: &CommandContext,
    outcome: Outcome,
    capsule: Option<&Capsule>,
    report: Option<Report>,
    run: &Brief,
) -> anyhow::Result<u8> {
    let exit_code = report.as_ref().map_or(0, |report| report.exit_code);
    if let Some(report) = &report {
        context.print_text(&report.to_string());
    }
    context.print_text(&verdict(outcome, capsule, run));
    context.print_json(&Document {
        schema: SCHEMA,
        command: "replay",
        outcome,
        expected: capsule.map(|capsule| &capsule.failure),
        expected_audit: capsule.map(|capsule| &*capsule.audit),
        capsule_build: capsule.map(|capsule| &capsule.build),
        build: Build::this(),
        seed: run.seed,
        audit: run.audit.to_string(),
        order: run.order.to_string(),
        failure: report.as_ref(),
        exit_code,
    })?;
    Ok(exit_code)
}

fn verdict(outcome: Outcome, capsule: Option<&Capsule>, run: &Brief) -> String {
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
    let builds = format!("the capsule is from version {build}, this is {}", Build::this());
    match outcome {
        Outcome::Same => format!("The run fails as in the capsule: {signature}, audit {audit}"),
        Outcome::SameFailure => format!(
            "The run fails as in the capsule ({signature}), but its events differ: audit {audit} \
             instead of {before}; {builds}"
        ),
        Outcome::OtherFailure => {
            format!("The run fails differently; the capsule has {signature}; {builds}")
        }
        Outcome::Passes | Outcome::Fails => {
            format!("The run passes; the capsule has {signature}; {builds}")
        }
    }
}
