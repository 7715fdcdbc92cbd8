//! `run`: plays scenarios, each with its seeds.

use crate::cli::gather::{FailureResult, exit_code};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::context::CommandContext;
use super::exit_codes::worst_exit_code;
use super::hunt_result::failed_text;
use super::progress::Progress;
use super::seeds;
use super::sources;
use crate::cli::common::{CapsuleArgs, CommonArgs, from_one};
use crate::durations::short;
use crate::many::case::Source;
use crate::many::pool;
use crate::many::tally::Tally;
use crate::scenario::{Range as Bounds, nanos};
use crate::show::capsule::Capsule;
use unisono_observe::counted::counted;

/// The least number of seeds for which `run` fails a scenario if all seeds play one order of
/// events. Fewer seeds may play one order by chance.
const MANY_SEEDS: u64 = 8;
/// The exit code for a scenario whose seeds all play one order of events. A fault without effect
/// has the same exit code.
const EXIT_TESTS_NOTHING: u8 = 5;

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Scenario files and folders
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Number of seeds of each scenario, from 0 [default: the scenario's `seeds`]
    #[arg(long, value_name = "N", value_parser = from_one::<NonZeroU64>, conflicts_with = "seed")]
    seeds: Option<NonZeroU64>,
    /// Play only this seed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    capsules: CapsuleArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

impl RunArgs {
    fn seeds_of(&self, source: &Source) -> RangeInclusive<u64> {
        // A scenario file always gives `Some`, because the parser refuses `seeds = 0`.
        let of_file = || NonZeroU64::new(source.scenario.sim.seeds.into());
        match (self.seed, self.seeds.or_else(of_file)) {
            (Some(seed), _) => seed..=seed,
            (None, n) => seeds::at_most(0, n.unwrap_or(NonZeroU64::MIN)),
        }
    }
}

/// Plays the scenarios, and prints a line for each.
pub(super) fn run(args: &RunArgs, context: &CommandContext) -> anyhow::Result<u8> {
    let sources = sources::load_all(&args.paths, context.caches.workload())?;
    let plan = RunList::new(sources.iter().map(|source| args.seeds_of(source)).collect());
    let widest = sources.iter().map(|source| source.name().chars().count()).max().unwrap_or(0);
    let progress = Progress::new(&context.screen, Some(plan.n_runs()));
    let mut results: Vec<ScenarioResult> = Vec::new();
    let mut tally = Tally::default();
    let play = |number| {
        let (source, seed) = plan.at(number);
        sources[source].case(seed).brief(&context.caches, context.options)
    };
    let failed = pool::in_order(context.jobs, 0..plan.n_runs(), play, |number, run| {
        progress.step();
        tally.add(run);
        if !plan.is_last_of_its_scenario(number) {
            return ControlFlow::Continue(());
        }
        let source = &sources[plan.at(number).0];
        match result(args, context, source, std::mem::take(&mut tally)) {
            Ok(result) => {
                context.print_text(&result.line(widest));
                result.notes().iter().for_each(|note| context.print_text(&format!("  {note}")));
                let failures = result.failures.iter();
                failures.for_each(|it| context.print_text(&format!("\n{}", it.report)));
                results.push(result);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    });
    progress.finish();
    if let Some(error) = failed {
        return Err(error);
    }
    let elapsed = progress.elapsed();
    let repeating = results.iter().filter(|result| result.repeats_one_order);
    let codes = results.iter().map(|result| exit_code(&result.failures));
    let exit_code = worst_exit_code(codes.chain(repeating.map(|_| EXIT_TESTS_NOTHING)));
    context.print_text(&summary(&results, elapsed));
    let elapsed_secs = elapsed.as_secs_f64();
    context.conclude("run", Document { scenarios: &results, elapsed_secs }, exit_code)
}

/// The runs of all scenarios in one list. With one list, a thread begins the next scenario while
/// other threads still play the last runs of this one.
struct RunList {
    seeds: Vec<RangeInclusive<u64>>,
    /// For each scenario, the number of runs up to its last run. The sum saturates, because no
    /// command plays more than 2^64 runs.
    ends: Vec<u64>,
}

impl RunList {
    fn new(seeds: Vec<RangeInclusive<u64>>) -> Self {
        let add = |sum: &mut u64, seeds: &RangeInclusive<u64>| {
            *sum = sum.saturating_add(seeds::count(seeds));
            Some(*sum)
        };
        let ends = seeds.iter().scan(0, add).collect();
        Self { seeds, ends }
    }

    fn n_runs(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Returns the scenario and the seed of a run.
    fn at(&self, number: u64) -> (usize, u64) {
        let scenario = self.ends.partition_point(|end| *end <= number);
        let begin = scenario.checked_sub(1).map_or(0, |before| self.ends[before]);
        (scenario, self.seeds[scenario].start() + (number - begin))
    }

    fn is_last_of_its_scenario(&self, number: u64) -> bool {
        self.ends.contains(&(number + 1))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    scenarios: &'a [ScenarioResult],
    elapsed_secs: f64,
}

/// The result of a scenario, as JSON and as text.
#[derive(Serialize)]
struct ScenarioResult {
    scenario: String,
    path: String,
    seeds: u64,
    failed: u64,
    /// Number of different orders of events: exact below 1,024, otherwise an estimate.
    orders: u64,
    /// Whether the scenario fails because all its seeds played one order of events.
    repeats_one_order: bool,
    /// The shortest and the longest virtual time of the runs that passed.
    virtual_time_ns: Option<Bounds<u64>>,
    events: u64,
    /// Number of faults with an effect, by kind.
    faults: BTreeMap<&'static str, u64>,
    /// Number of events by kind, for the kinds of events that the scenario expects.
    expected: BTreeMap<&'static str, u64>,
    failures: Vec<FailureResult>,
    #[serde(skip)]
    tally: Tally,
}

fn result(
    args: &RunArgs,
    context: &CommandContext,
    source: &Source,
    tally: Tally,
) -> anyhow::Result<ScenarioResult> {
    let capsules = args.capsules.folder(&source.path);
    let file = |capsule: &Capsule| capsule.file_in(&capsules);
    let mut failures = Vec::new();
    for finding in &tally.findings {
        let first = &finding.first;
        let report =
            context.keep(source, &source.case(first.seed), first, context.options, file)?;
        failures.push(FailureResult::new(finding, report));
    }
    let with_effect = tally.coverage.faults.iter().filter(|(_, count)| count.n_with_effect > 0);
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
        faults: with_effect.map(|(family, count)| (family.name(), count.n_with_effect)).collect(),
        expected: happened.collect(),
        failures,
        tally,
    })
}

/// Returns whether at least [`MANY_SEEDS`] seeds of a scenario all played one order of events,
/// which the scenario does not allow. Returns `false` if a run failed.
fn repeats_one_order(source: &Source, tally: &Tally) -> bool {
    let is_repeated = tally.n_runs >= MANY_SEEDS && tally.orders.count() == 1;
    is_repeated && tally.n_failed == 0 && !source.scenario.sim.one_order
}

impl ScenarioResult {
    /// Returns the notes to print below the line of the scenario.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.failed > 0 {
            let failed = failed_text(self.failed, self.seeds);
            notes.push(format!("{failed}: {}", self.tally.signatures()));
        }
        if self.repeats_one_order {
            notes.push(format!(
                "{} seeds played 1 order of events, so all seeds but one test nothing. Use a \
                 distribution for a duration, or write `one_order = true` or `seeds = 1` in [sim] \
                 of {}",
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
    fn each_run_number_maps_to_a_scenario_and_a_seed() {
        let two = seeds::at_most(0, NonZeroU64::new(2).expect("not 0"));
        let plan = RunList::new(vec![two, 7..=7, u64::MAX..=u64::MAX]);
        let all: Vec<_> = (0..plan.n_runs()).map(|number| plan.at(number)).collect();
        assert_eq!(all, [(0, 0), (0, 1), (1, 7), (2, u64::MAX)]);
        let last: Vec<_> = (0..4).map(|number| plan.is_last_of_its_scenario(number)).collect();
        assert_eq!(last, [false, true, true, true]);
    }
}
