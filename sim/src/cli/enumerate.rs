//! `enumerate`: plays a run for each moment at which a node can crash.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::context::CommandContext;
use super::gather::{FailureResult, Gathered, exit_code, gather};
use super::sources;
use crate::cli::common::{CapsuleArgs, CommonArgs, from_one};
use crate::cli::exit_codes::worst_exit_code;
use crate::durations::short;
use crate::many::case::{Case, Source};
use crate::many::enumerate::{CrashPoint, crash_points, pairs, with_crashes};
use crate::many::tally::Finding;
use crate::run::played::PlayOptions;
use crate::scenario::file::parse_duration;

#[derive(Args, Debug)]
pub(super) struct EnumerateArgs {
    /// Scenario files and folders
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Seed of all runs
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Play this many pairs of crashes per scenario, instead of each single crash; --seed selects
    /// the pairs
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU64>)]
    pairs: Option<NonZeroU64>,
    /// Time from a crash to the restart of the node
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = parse_duration)]
    restart_after: Duration,
    #[command(flatten)]
    capsules: CapsuleArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// Plays one run of each scenario for each crash, or for each drawn pair of crashes. Reports the
/// runs that fail.
pub(super) fn enumerate(args: &EnumerateArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let sources = sources::load_all(&args.paths, context.caches.workload())?;
    let results = sources.iter().map(|source| enumerate_one(args, source, context));
    let results: Vec<_> = results.collect::<anyhow::Result<_>>()?;
    if results.len() > 1 {
        let n_runs = results.iter().map(|result| result.runs).sum();
        let n_failed = results.iter().map(|result| result.failed).sum();
        let elapsed = results.iter().map(|result| result.elapsed).sum();
        context.print_text(&ending(args.what(), n_runs, n_failed, elapsed));
    }
    let exit_code = worst_exit_code(results.iter().map(|result| result.exit_code));
    context.conclude("enumerate", json!({ "scenarios": results }), exit_code)
}

fn enumerate_one(
    args: &EnumerateArgs,
    source: &Source,
    context: &CommandContext,
) -> anyhow::Result<ScenarioResult> {
    let base = source.case(args.seed);
    let points = points_of(&base, context).with_context(|| source.name())?;
    let plans: Vec<Vec<CrashPoint>> = match args.pairs {
        Some(n_pairs) => {
            pairs(&points, n_pairs.get(), args.seed).into_iter().map(|pair| pair.to_vec()).collect()
        }
        None => points.iter().map(|point| vec![*point]).collect(),
    };
    let (name, n_points, n_runs) = (source.name(), points.len(), plans.len() as u64);
    let Gathered { tally, failures, elapsed } = gather(
        context,
        (source, &args.capsules.folder(&source.path)),
        (0..n_runs, Some(n_runs)),
        |number| with_crashes(&base, &plans[number as usize], args.restart_after),
        |_, _| false,
    )?;
    let failed = tally.n_failed;
    let line = ending(args.what(), n_runs, failed, elapsed);
    let orders = &tally.orders;
    context.print_text(&format!(
        "{name}, seed {}: {n_points} crash points; {line}; {orders}",
        args.seed
    ));
    for Finding { signature, n_seeds, .. } in &tally.findings {
        context.print_text(&format!("  {signature}: {n_seeds}"));
    }
    Ok(ScenarioResult {
        scenario: name,
        seed: args.seed,
        crash_points: n_points,
        runs: n_runs,
        failed,
        orders: tally.orders.count(),
        elapsed,
        elapsed_secs: elapsed.as_secs_f64(),
        exit_code: exit_code(&failures),
        failures,
    })
}

fn ending(what: &str, n_runs: u64, n_failed: u64, elapsed: Duration) -> String {
    format!("{n_runs} {what} in {}; {n_failed} failed", short(elapsed))
}

impl EnumerateArgs {
    const fn what(&self) -> &'static str {
        if self.pairs.is_some() { "pairs of crashes" } else { "crashes" }
    }
}

fn points_of(base: &Case, context: &CommandContext) -> anyhow::Result<Vec<CrashPoint>> {
    let played = base.play(&context.caches, PlayOptions { trace: true, ..context.options });
    if let Some(failure) = played.failure {
        bail!("the run fails even without a crash: {failure}");
    }
    Ok(crash_points(&played.trace.expect("the run was traced")))
}

#[derive(Serialize)]
struct ScenarioResult {
    scenario: String,
    seed: u64,
    crash_points: usize,
    runs: u64,
    failed: u64,
    /// Number of different orders of events: exact below 1,024, otherwise an estimate.
    orders: u64,
    #[serde(skip)]
    elapsed: Duration,
    elapsed_secs: f64,
    failures: Vec<FailureResult>,
    #[serde(skip)]
    exit_code: u8,
}
