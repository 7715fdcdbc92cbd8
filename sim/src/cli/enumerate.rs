//! `enumerate`: a crash at every event of every node.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::args::{CapsuleArgs, CommonArgs};
use super::gather::{Gathered, gather};
use super::run::FailureResult;
use super::sources;
use super::stage::{SCHEMA, Stage};
use crate::PlayOptions;
use crate::case::Case;
use crate::enumerate::{CrashPoint, crash_points, pairs, with_crashes};
use crate::report::short;
use crate::scenario::file::parse_duration;
use crate::tally::Finding;

#[derive(Args, Debug)]
pub(super) struct EnumerateArgs {
    /// Scenario file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The seed of all runs
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Play so many pairs of crashes, drawn with the seed, instead of every single one
    #[arg(long, value_name = "N")]
    pairs: Option<u64>,
    /// How long a crashed node is away
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = parse_duration)]
    restart_after: Duration,
    #[command(flatten)]
    capsules: CapsuleArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Plays all of them, and says which of them the cluster does not survive.
pub(super) fn enumerate(args: &EnumerateArgs, stage: &Stage) -> anyhow::Result<u8> {
    let source = sources::load(&args.path)?;
    let base = source.case(args.seed);
    let points = points_of(&base, stage)?;
    let plans: Vec<Vec<CrashPoint>> = match args.pairs {
        Some(n_pairs) => {
            pairs(&points, n_pairs, args.seed).into_iter().map(|pair| pair.to_vec()).collect()
        }
        None => points.iter().map(|point| vec![*point]).collect(),
    };
    let what = if args.pairs.is_some() { "pairs of crashes" } else { "crashes" };
    stage.say(&format!(
        "{}, seed {}: {} moments, {} {what}",
        source.name(),
        args.seed,
        points.len(),
        plans.len()
    ));
    let n_plans = plans.len() as u64;
    let gathered = gather(
        stage,
        (&source, &args.capsules.capsules),
        (0..n_plans, Some(n_plans)),
        |number| with_crashes(&base, &plans[number as usize], args.restart_after),
        |_, _| false,
    )?;
    let exit_code = gathered.exit_code();
    let Gathered { tally, elapsed, .. } = &gathered;
    stage.say(&format!("{n_plans} {what} in {}; {} failed", short(*elapsed), tally.n_failed));
    for Finding { signature, n_seeds, .. } in &tally.findings {
        stage.say(&format!("  {signature}: {n_seeds}"));
    }
    stage.print_json(&Document {
        schema: SCHEMA,
        command: "enumerate",
        scenario: source.name(),
        seed: args.seed,
        crash_points: points.len(),
        runs: n_plans,
        failed: tally.n_failed,
        elapsed_secs: elapsed.as_secs_f64(),
        failures: gathered.into_failures(),
        exit_code,
    })?;
    Ok(exit_code)
}

fn points_of(base: &Case, stage: &Stage) -> anyhow::Result<Vec<CrashPoint>> {
    let played = base.play(&stage.labs, PlayOptions { trace: true, ..stage.options });
    if let Some(failure) = played.failure {
        bail!("the run fails without a crash, too: {failure}");
    }
    Ok(crash_points(&played.trace.expect("it was asked for")))
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    command: &'static str,
    scenario: String,
    seed: u64,
    crash_points: usize,
    runs: u64,
    failed: u64,
    elapsed_secs: f64,
    failures: Vec<FailureResult>,
    exit_code: u8,
}
