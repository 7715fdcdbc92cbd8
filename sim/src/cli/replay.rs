//! `replay`: a failure again; or a whole run of a real cluster, from its ledgers.

use crate::cli::sources::is_scenario;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::replay_ledgers::{LedgerArgs, replay_ledgers};
use super::sources::{self, usage};
use super::stage::{SCHEMA, Stage};
use crate::cli::common::CommonArgs;
use crate::counted::short;
use crate::many::case::Case;
use crate::many::tally::Brief;
use crate::run::played::PlayOptions;
use crate::show::capsule::{Build, Capsule, FailureNote};
use crate::show::report::{Report, explain};

#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// Capsule, or scenario file
    #[arg(value_name = "CAPSULE|PATH", required_unless_present = "ledger")]
    path: Option<PathBuf>,
    /// The seed, with a scenario file
    #[arg(long, value_name = "S", conflicts_with = "ledger")]
    seed: Option<u64>,
    #[command(flatten)]
    pub(super) ledgers: LedgerArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Plays it, and says whether it fails as before.
pub(super) fn replay(args: &ReplayArgs, stage: &Stage) -> anyhow::Result<u8> {
    let Some(path) = &args.path else { return replay_ledgers(&args.ledgers, stage) };
    match (is_scenario(path), args.seed) {
        (true, Some(seed)) => replay_seed(path, seed, stage),
        (true, None) => Err(usage("a scenario file needs a --seed")),
        (false, None) => replay_capsule(path, stage),
        (false, Some(_)) => Err(usage("a capsule has its seed; leave --seed out")),
    }
}

fn replay_seed(path: &Path, seed: u64, stage: &Stage) -> anyhow::Result<u8> {
    let source = sources::load(path)?;
    let again = Again::play(&source.name(), &source.case(seed), stage, stage.options);
    let report = again.report.map(|report| report.played_from(&path.display().to_string()));
    let outcome = if report.is_some() { Outcome::Fails } else { Outcome::Passes };
    finish(stage, outcome, None, report, &again.run)
}

fn replay_capsule(path: &Path, stage: &Stage) -> anyhow::Result<u8> {
    let capsule = Capsule::load(path)?;
    let options = stage.options_for(&capsule)?;
    let opened = capsule.open(path)?;
    let name = Path::new(&capsule.path).file_stem().unwrap_or_default().to_string_lossy();
    let again = Again::play(&name, &opened.case, stage, options);
    let report = again.report.map(|report| report.kept_in(&path.display().to_string()));
    let outcome = match &report {
        None => Outcome::Passes,
        Some(report) if report.signature != capsule.failure.signature => Outcome::OtherFailure,
        Some(report) if report.audit != capsule.audit => Outcome::SameFailure,
        Some(_) => Outcome::Same,
    };
    finish(stage, outcome, Some(&capsule), report, &again.run)
}

struct Again {
    run: Brief,
    report: Option<Report>,
}

impl Again {
    fn play(name: &str, case: &Case, stage: &Stage, options: PlayOptions) -> Self {
        let run = case.brief(&stage.caches, options);
        let explained =
            run.failure.is_some().then(|| explain(name, case, &run, &stage.caches, options));
        Self { run, report: explained.map(|explained| explained.report) }
    }
}

/// How a run compares with its capsule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// The same failure, after the same history.
    Same,
    /// The same failure, after another history.
    SameFailure,
    /// Another failure.
    OtherFailure,
    /// A failure, and no capsule to compare it with.
    Fails,
    /// No failure.
    Passes,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    command: &'static str,
    outcome: Outcome,
    /// What the capsule says.
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
    stage: &Stage,
    outcome: Outcome,
    capsule: Option<&Capsule>,
    report: Option<Report>,
    run: &Brief,
) -> anyhow::Result<u8> {
    let exit_code = report.as_ref().map_or(0, |report| report.exit_code);
    if let Some(report) = &report {
        stage.say(&report.to_string());
    }
    stage.say(&verdict(outcome, capsule, run));
    stage.print_json(&Document {
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
        let how = if outcome == Outcome::Passes { "It does not fail" } else { "It fails" };
        let (took, n_events) = (short(run.took), run.n_events);
        let order = run.order;
        return format!(
            "{how}: {took} of virtual time, {n_events} events, audit {audit}, order {order}"
        );
    };
    let Capsule { failure, audit: before, build, .. } = capsule;
    let signature = &failure.signature;
    let builds = format!("the capsule is of {build}, this is {}", Build::this());
    match outcome {
        Outcome::Same => format!("It fails as the capsule says: {signature}, audit {audit}"),
        Outcome::SameFailure => format!(
            "It fails as the capsule says, {signature}, after another history: audit {audit}, \
             not {before}; {builds}"
        ),
        Outcome::OtherFailure => {
            format!("It fails in another way: the capsule says {signature}; {builds}")
        }
        Outcome::Passes | Outcome::Fails => {
            format!("It does not fail; the capsule says {signature}; {builds}")
        }
    }
}
