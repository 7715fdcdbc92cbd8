//! `hunt`: one scenario, many seeds, or one machine's share of them.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::gather::{Gathered, gather};
use super::hunt_result::{CoverageNote, FailureNote, Hunt, HuntResult, OrdersNote};
use super::seeds::Seeds;
use super::shard::{Shard, ShardArg};
use super::sources::{self, usage};
use super::stage::{SCHEMA, Stage};
use crate::cli::common::{CapsuleArgs, CommonArgs, from_one};
use crate::scenario::file::parse_duration;
use crate::show::capsule::Build;

/// Seeds of a hunt that is given no bound.
const DEFAULT_SEEDS: NonZeroU64 = NonZeroU64::new(1_000).unwrap();

#[derive(Args, Debug)]
pub(super) struct HuntArgs {
    /// Scenario file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Seeds to play [default: 1000, or as many as --for allows]
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU64>)]
    seeds: Option<NonZeroU64>,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,
    /// End after this time by the wall clock, such as 60s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// End when so many seeds have failed
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU64>)]
    stop_after: Option<NonZeroU64>,
    /// Play every N-th seed only, from the I-th on, counted from 0; auto is the number that
    /// JOB_COMPLETION_INDEX names, as in an Indexed Job of Kubernetes
    #[arg(long, value_name = "I/N")]
    shard: Option<ShardArg>,
    /// Write the result there, too, for `unisono-sim merge`
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    #[command(flatten)]
    capsules: CapsuleArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

impl HuntArgs {
    /// The seeds of all shards.
    fn all_seeds(&self) -> anyhow::Result<Seeds> {
        match (self.seeds, self.time) {
            (Some(n), _) => Seeds::exactly(self.from, n),
            (None, Some(_)) => Ok(Seeds::all_from(self.from)),
            (None, None) => Ok(Seeds::at_most(self.from, DEFAULT_SEEDS)),
        }
    }

    /// Whether time alone ends the hunt.
    const fn is_endless(&self) -> bool {
        self.seeds.is_none() && self.time.is_some()
    }

    fn shard(&self) -> anyhow::Result<Shard> {
        let variable = |name: &str| std::env::var(name).ok();
        self.shard.map_or(Ok(Shard::WHOLE), |shard| shard.resolve(variable))
    }
}

/// A time above 0: a hunt without any plays nothing, and must not pass.
fn parse_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time.is_zero() { Err("it must be above 0".to_owned()) } else { Ok(time) }
}

/// Plays them, and says what was found, and what was reached.
pub(super) fn hunt(args: &HuntArgs, stage: &Stage) -> anyhow::Result<u8> {
    let source = sources::load(&args.path)?;
    let (shard, seeds) = (args.shard()?, args.all_seeds()?);
    let n_runs = shard.n_seeds(seeds.count());
    if n_runs == 0 {
        let n_seeds = seeds.count();
        return Err(usage(format!(
            "shard {shard} has none of {n_seeds} seeds: give at least {} --seeds, or fewer shards",
            shard.of
        )));
    }
    let last_seed = Some(seeds.last()).filter(|_| !args.is_endless());
    let to = last_seed.map_or_else(String::new, |last| format!(" to {last}"));
    let share = if shard == Shard::WHOLE { String::new() } else { format!(", shard {shard}") };
    let first = seeds.first();
    stage.say(&format!("hunting {}: seeds {first}{to}{share}", args.path.display()));

    let gathered = gather(
        stage,
        (&source, &args.capsules.folder(&source.path)),
        (0..n_runs, last_seed.map(|_| n_runs)),
        |nth| source.case(shard.seed(first, nth)),
        |tally, elapsed| {
            args.stop_after.is_some_and(|most| tally.n_failed >= most.get())
                || args.time.is_some_and(|time| elapsed >= time)
        },
    )?;
    let hunt = Hunt {
        schema: SCHEMA,
        command: Hunt::command(),
        scenario: source.name(),
        path: args.path.display().to_string(),
        scenario_text: source.scenario.to_toml(),
        first_seed: first,
        last_seed,
        build: Build::this(),
        bug: stage.bug_name(),
    };
    let result = result(hunt, shard, &gathered)?;
    stage.say(&result.text()?);
    stage.print_json(&result)?;
    if let Some(path) = &args.out {
        result.write(path)?;
    }
    Ok(result.exit_code)
}

fn result(hunt: Hunt, shard: Shard, gathered: &Gathered) -> anyhow::Result<HuntResult> {
    let Gathered { tally, reports, elapsed } = gathered;
    let failures = tally.findings.iter().zip(reports);
    Ok(HuntResult {
        hunt,
        shard,
        seeds: tally.n_runs,
        failed: tally.n_failed,
        events: tally.n_events,
        orders: OrdersNote::of(&tally.orders),
        elapsed_secs: elapsed.as_secs_f64(),
        coverage: CoverageNote::of(&tally.coverage),
        failures: failures
            .map(|(finding, report)| FailureNote::of(finding, report))
            .collect::<anyhow::Result<_>>()?,
        exit_code: gathered.exit_code(),
    })
}
