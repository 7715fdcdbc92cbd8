//! `run`: scenarios, each with its seeds.

use crate::cli::gather::FailureResult;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::hunt_result::failed_text;
use super::progress::Progress;
use super::seeds::Seeds;
use super::sources;
use super::stage::{SCHEMA, Stage};
use crate::cli::common::{CapsuleArgs, CommonArgs, from_one};
use crate::counted::{counted, short};
use crate::many::case::Source;
use crate::many::pool;
use crate::many::tally::{Finding, Tally};
use crate::run::failure::Failure;
use crate::scenario::{Range as Bounds, nanos};

/// From so many seeds on a scenario claims to vary. Of fewer, all may play one order by chance.
const MANY_SEEDS: u64 = 8;
/// The exit code of a scenario that tries nothing, as that of a fault without effect.
const EXIT_TRIES_NOTHING: u8 = 5;

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Scenario files, and folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Seeds of each scenario, from 0 [default: the scenario's]
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU64>, conflicts_with = "seed")]
    seeds: Option<NonZeroU64>,
    /// The only seed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    capsules: CapsuleArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

impl RunArgs {
    fn seeds_of(&self, source: &Source) -> Seeds {
        // A scenario file that says 0 is refused when it is read.
        let of_file = || NonZeroU64::new(source.scenario.sim.seeds.into());
        match (self.seed, self.seeds.or_else(of_file)) {
            (Some(seed), _) => Seeds::one(seed),
            (None, n) => Seeds::at_most(0, n.unwrap_or(NonZeroU64::MIN)),
        }
    }
}

/// Plays them, and says what came of it.
pub(super) fn run(args: &RunArgs, stage: &Stage) -> anyhow::Result<u8> {
    let sources = sources::load_all(&args.paths)?;
    let plan = Plan::new(sources.iter().map(|source| args.seeds_of(source)).collect());
    let widest = sources.iter().map(|source| source.name().chars().count()).max().unwrap_or(0);
    let progress = Progress::new(&stage.screen, Some(plan.n_runs()));
    let mut results: Vec<ScenarioResult> = Vec::new();
    let mut tally = Tally::default();
    let mut error = None;
    let play = |number| {
        let (source, seed) = plan.at(number);
        sources[source].case(seed).brief(&stage.caches, stage.options)
    };
    pool::in_order(stage.jobs, 0..plan.n_runs(), play, |number, run| {
        progress.step();
        tally.add(run);
        if !plan.is_last_of_its_scenario(number) {
            return ControlFlow::Continue(());
        }
        let source = &sources[plan.at(number).0];
        match result(args, stage, source, std::mem::take(&mut tally)) {
            Ok(result) => {
                stage.say(&result.line(widest));
                result.notes().iter().for_each(|note| stage.say(&format!("  {note}")));
                result.failures.iter().for_each(|it| stage.say(&format!("\n{}", it.report)));
                results.push(result);
                ControlFlow::Continue(())
            }
            Err(wrong) => {
                error = Some(wrong);
                ControlFlow::Break(())
            }
        }
    });
    progress.finish();
    if let Some(error) = error {
        return Err(error);
    }
    let elapsed = progress.elapsed();
    let failures = results.iter().flat_map(|result| &result.tally.findings).map(Finding::failure);
    let repeating = results.iter().filter(|result| result.repeats_one_order);
    let exit_code = crate::cli::exit_codes::worst_exit_code(
        failures.map(Failure::exit_code).chain(repeating.map(|_| EXIT_TRIES_NOTHING)),
    );
    stage.say(&summary(&results, elapsed));
    let elapsed_secs = elapsed.as_secs_f64();
    let document =
        Document { schema: SCHEMA, command: "run", scenarios: &results, elapsed_secs, exit_code };
    stage.print_json(&document)?;
    Ok(exit_code)
}

/// All runs of all scenarios, as one list.
struct Plan {
    seeds: Vec<Seeds>,
    /// How many runs there are up to the end of each scenario. The sum saturates: runs beyond 2^64
    /// are never reached.
    ends: Vec<u64>,
}

impl Plan {
    fn new(seeds: Vec<Seeds>) -> Self {
        let add = |sum: &mut u64, seeds: &Seeds| {
            *sum = sum.saturating_add(seeds.count());
            Some(*sum)
        };
        let ends = seeds.iter().scan(0, add).collect();
        Self { seeds, ends }
    }

    fn n_runs(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The scenario and the seed of a run.
    fn at(&self, number: u64) -> (usize, u64) {
        let scenario = self.ends.partition_point(|end| *end <= number);
        let begin = scenario.checked_sub(1).map_or(0, |before| self.ends[before]);
        (scenario, self.seeds[scenario].nth(number - begin))
    }

    fn is_last_of_its_scenario(&self, number: u64) -> bool {
        self.ends.contains(&(number + 1))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    command: &'static str,
    scenarios: &'a [ScenarioResult],
    elapsed_secs: f64,
    exit_code: u8,
}

/// What came of a scenario.
#[derive(Serialize)]
struct ScenarioResult {
    scenario: String,
    path: String,
    seeds: u64,
    failed: u64,
    /// Different orders of events; an estimate from 1,024 on.
    orders: u64,
    /// The seeds repeat one order of events, and the scenario does not say that they may.
    repeats_one_order: bool,
    /// Of the runs that did not fail.
    virtual_time_ns: Option<Bounds<u64>>,
    events: u64,
    /// How many faults bit, by kind.
    faults: BTreeMap<&'static str, u64>,
    /// Events that must happen, and did.
    expected: BTreeMap<&'static str, u64>,
    failures: Vec<FailureResult>,
    #[serde(skip)]
    tally: Tally,
}

fn result(
    args: &RunArgs,
    stage: &Stage,
    source: &Source,
    tally: Tally,
) -> anyhow::Result<ScenarioResult> {
    let mut failures = Vec::new();
    for finding in &tally.findings {
        let (first, capsules) = (&finding.first, args.capsules.folder(&source.path));
        let report = stage.keep(source, &source.case(first.seed), first, &capsules)?;
        failures.push(FailureResult::of(finding, report));
    }
    let bit = tally.coverage.faults.iter().filter(|(_, count)| count.n_bit > 0);
    let events = source.scenario.expect.events.iter().map(|expected| expected.event);
    let happened =
        events.filter_map(|kind| Some((kind.name(), *tally.coverage.events.get(&kind)?)));
    Ok(ScenarioResult {
        scenario: source.name(),
        path: source.path.display().to_string(),
        seeds: tally.n_runs,
        failed: tally.n_failed,
        orders: tally.orders.count(),
        repeats_one_order: repeats_one_order(source, &tally),
        virtual_time_ns: tally.took.map(|(min, max)| Bounds { min: nanos(min), max: nanos(max) }),
        events: tally.n_events,
        faults: bit.map(|(family, count)| (family.name(), count.n_bit)).collect(),
        expected: happened.collect(),
        failures,
        tally,
    })
}

/// Whether a scenario plays many seeds, and all of them are the same run but for times.
fn repeats_one_order(source: &Source, tally: &Tally) -> bool {
    let is_repeated = tally.n_runs >= MANY_SEEDS && tally.orders.count() == 1;
    is_repeated && tally.n_failed == 0 && !source.scenario.sim.one_order
}

impl ScenarioResult {
    /// What is to be said of the scenario beside its line.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.failed > 0 {
            let signatures = self.tally.findings.iter();
            let signatures: Vec<_> =
                signatures.map(|it| format!("{} {}", it.signature, it.n_seeds)).collect();
            notes.push(format!(
                "{}: {}",
                failed_text(self.failed, self.seeds),
                signatures.join(", ")
            ));
        }
        if self.repeats_one_order {
            notes.push(format!(
                "{} seeds played 1 order of events: more than one seed tests nothing. Give times a \
                 distribution, or write `one_order = true` or `seeds = 1` in [sim] of {}",
                self.seeds, self.path
            ));
        }
        notes
    }

    const fn is_failed(&self) -> bool {
        self.failed > 0 || self.repeats_one_order
    }

    fn line(&self, width: usize) -> String {
        let mark = if self.is_failed() { '✗' } else { '✓' };
        let took = self.tally.took.map_or_else(String::new, |(min, max)| {
            let (min, max) = (short(min), short(max));
            if min == max { min } else { format!("{min} to {max}") }
        });
        let events = self.events / self.seeds.max(1);
        let counts = self.faults.iter().chain(&self.expected);
        let counts: Vec<_> = counts.map(|(what, n)| format!("{what} {n}")).collect();
        let Self { scenario, seeds, tally, .. } = self;
        let (n_seeds, orders) = (counted(*seeds, "seed"), tally.orders.to_string());
        let line = format!(
            "{mark} {scenario:width$} {n_seeds:>10}, {orders:<11} {took:<20} {events:>7} events  {}",
            counts.join(", ")
        );
        line.trim_end().to_owned()
    }
}

fn summary(results: &[ScenarioResult], elapsed: std::time::Duration) -> String {
    let n_runs: u64 = results.iter().map(|result| result.seeds).sum();
    let n_failed = results.iter().filter(|result| result.is_failed()).count();
    let n_failed_runs: u64 = results.iter().map(|result| result.failed).sum();
    let what = match (n_failed, results.len()) {
        (0, n) => format!("{} passed", counted(n as u64, "scenario")),
        (failed, n) => {
            let of = counted(n as u64, "scenario");
            format!("{failed} of {of} failed, {}", failed_text(n_failed_runs, n_runs))
        }
    };
    let rate = n_runs as f64 / elapsed.as_secs_f64().max(1e-9);
    format!("{what}: {} in {}, {rate:.0} a second", counted(n_runs, "run"), short(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_its_scenario_and_seed() {
        let two = Seeds::at_most(0, NonZeroU64::new(2).expect("not 0"));
        let plan = Plan::new(vec![two, Seeds::one(7), Seeds::one(u64::MAX)]);
        let all: Vec<_> = (0..plan.n_runs()).map(|number| plan.at(number)).collect();
        assert_eq!(all, [(0, 0), (0, 1), (1, 7), (2, u64::MAX)]);
        let last: Vec<_> = (0..4).map(|number| plan.is_last_of_its_scenario(number)).collect();
        assert_eq!(last, [false, true, true, true]);
    }
}
