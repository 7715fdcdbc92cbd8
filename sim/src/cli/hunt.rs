//! `hunt`: plays one scenario with many seeds, or with the seeds of one shard.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::context::{CommandContext, SCHEMA};
use super::gather::{Gathered, exit_code, gather};
use super::hunt_result::{COMMAND, HuntResult};
use super::seeds;
use super::shard::{Shard, ShardArg};
use super::sources::{self, usage};
use crate::cli::common::{CapsuleArgs, CommonArgs, from_one};
use crate::scenario::file::parse_duration;
use crate::show::capsule::Build;

/// Number of seeds if neither --seeds nor --for is given.
const DEFAULT_SEEDS: NonZeroU64 = NonZeroU64::new(1_000).unwrap();

#[derive(Args, Debug)]
pub(super) struct HuntArgs {
    /// Scenario file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Number of seeds [default: 1000, or as many as --for allows]
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU64>)]
    seeds: Option<NonZeroU64>,
    /// First seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,
    /// Stop after this wall-clock time, such as 60s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Stop when this many seeds have failed
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU64>)]
    stop_after: Option<NonZeroU64>,
    /// Play only every N-th seed, beginning with seed number I, counted from 0. With auto/N, I is
    /// the value of JOB_COMPLETION_INDEX, which an Indexed Job of Kubernetes sets
    #[arg(long, value_name = "I/N")]
    shard: Option<ShardArg>,
    /// Also write the result to this file, for `unisono-sim merge`
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    #[command(flatten)]
    capsules: CapsuleArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

impl HuntArgs {
    /// Returns the seeds of all shards.
    fn all_seeds(&self) -> anyhow::Result<RangeInclusive<u64>> {
        match (self.seeds, self.time) {
            (Some(n), _) => seeds::exactly(self.from, n),
            (None, Some(_)) => Ok(self.from..=u64::MAX),
            (None, None) => Ok(seeds::at_most(self.from, DEFAULT_SEEDS)),
        }
    }

    /// Returns whether the number of seeds is unlimited, because --for is given without --seeds.
    const fn is_endless(&self) -> bool {
        self.seeds.is_none() && self.time.is_some()
    }

    fn shard(&self) -> anyhow::Result<Shard> {
        let variable = |name: &str| std::env::var(name).ok();
        self.shard.map_or(Ok(Shard::WHOLE), |shard| shard.resolve(variable))
    }
}

/// Parses a duration above 0. With a duration of 0, `hunt` would pass after its first seed.
fn parse_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time.is_zero() { Err("the time must be above 0".to_owned()) } else { Ok(time) }
}

/// Plays the seeds, and reports the failures and the coverage.
pub(super) fn hunt(args: &HuntArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let source = sources::load(&args.path, context.caches.workload())?;
    let (shard, seeds) = (args.shard()?, args.all_seeds()?);
    let n_seeds = seeds::count(&seeds);
    let n_runs = shard.n_seeds(n_seeds);
    if n_runs == 0 {
        return Err(usage(format!(
            "shard {shard} has none of the {n_seeds} seeds: use --seeds {} or more, or fewer shards",
            shard.of
        )));
    }
    let last_seed = Some(*seeds.end()).filter(|_| !args.is_endless());
    let to = last_seed.map_or_else(String::new, |last| format!(" to {last}"));
    let share = if shard == Shard::WHOLE { String::new() } else { format!(", shard {shard}") };
    let first = *seeds.start();
    context.print_text(&format!("hunting {}: seeds {first}{to}{share}", args.path.display()));

    let Gathered { tally, failures, elapsed } = gather(
        context,
        (&source, &args.capsules.folder(&source.path)),
        (0..n_runs, last_seed.map(|_| n_runs)),
        |nth| source.case(shard.seed(first, nth)),
        |tally, elapsed| {
            args.stop_after.is_some_and(|most| tally.n_failed >= most.get())
                || args.time.is_some_and(|time| elapsed >= time)
        },
    )?;
    let result = HuntResult {
        schema: SCHEMA,
        command: COMMAND.to_owned(),
        scenario: source.name(),
        path: args.path.display().to_string(),
        scenario_text: source.scenario.to_toml(),
        first_seed: first,
        last_seed,
        build: Build::this(),
        bug: context.bug_name(),
        shard,
        seeds: tally.n_runs,
        failed: tally.n_failed,
        events: tally.n_events,
        orders: tally.orders,
        elapsed_secs: elapsed.as_secs_f64(),
        coverage: tally.coverage.into(),
        exit_code: exit_code(&failures),
        failures,
    };
    result.conclude(context, args.out.as_deref())
}
