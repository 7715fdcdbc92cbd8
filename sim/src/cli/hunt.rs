//! `hunt`: one scenario, many seeds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::args::{CapsuleArgs, CommonArgs};
use super::gather::{Gathered, gather};
use super::run::FailureResult;
use super::sources;
use super::stage::{SCHEMA, Stage};
use crate::report::{counted, short};
use crate::scenario::file::parse_duration;
use crate::tally::{Coverage, Finding};

/// Seeds of a hunt that is given no bound.
const DEFAULT_SEEDS: u64 = 1_000;

#[derive(Args, Debug)]
pub(super) struct HuntArgs {
    /// Scenario file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Seeds to play [default: 1000, or as many as --for allows]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,
    /// End after this time by the wall clock, such as 60s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
    /// End when so many seeds have failed
    #[arg(long, value_name = "N")]
    stop_after: Option<NonZeroU64>,
    #[command(flatten)]
    capsules: CapsuleArgs,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

impl HuntArgs {
    /// How many seeds there are, if that is known beforehand.
    fn n_seeds(&self) -> Option<u64> {
        match (self.seeds, self.time) {
            (None, Some(_)) => None,
            (seeds, _) => Some(seeds.unwrap_or(DEFAULT_SEEDS)),
        }
    }
}

/// Plays them, and says what was found, and what was reached.
pub(super) fn hunt(args: &HuntArgs, stage: &Stage) -> anyhow::Result<u8> {
    let source = sources::load(&args.path)?;
    let n_seeds = args.n_seeds();
    let end = n_seeds.map_or(u64::MAX, |n| args.from.saturating_add(n));
    let to = n_seeds.map_or_else(String::new, |_| format!(" to {}", end.saturating_sub(1)));
    stage.say(&format!("hunting {}: seeds {}{to}", args.path.display(), args.from));

    let gathered = gather(
        stage,
        (&source, &args.capsules.capsules),
        (args.from..end, n_seeds),
        |seed| source.case(seed),
        |tally, elapsed| {
            args.stop_after.is_some_and(|most| tally.n_failed >= most.get())
                || args.time.is_some_and(|time| elapsed >= time)
        },
    )?;
    let exit_code = gathered.exit_code();
    let Gathered { tally, elapsed, .. } = &gathered;
    stage.say(&summary(&gathered));
    stage.print_json(&Document {
        schema: SCHEMA,
        command: "hunt",
        scenario: source.name(),
        path: args.path.display().to_string(),
        first_seed: args.from,
        seeds: tally.n_runs,
        failed: tally.n_failed,
        events: tally.n_events,
        elapsed_secs: elapsed.as_secs_f64(),
        coverage: CoverageNote::of(&tally.coverage),
        failures: gathered.into_failures(),
        exit_code,
    })?;
    Ok(exit_code)
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    command: &'static str,
    scenario: String,
    path: String,
    first_seed: u64,
    seeds: u64,
    failed: u64,
    events: u64,
    elapsed_secs: f64,
    failures: Vec<FailureResult>,
    coverage: CoverageNote,
    exit_code: u8,
}

/// What was reached.
#[derive(Serialize)]
pub(super) struct CoverageNote {
    faults: BTreeMap<&'static str, FaultNote>,
    events: BTreeMap<&'static str, u64>,
    events_that_never_happened: Vec<&'static str>,
}

#[derive(Serialize)]
struct FaultNote {
    faults: u64,
    bit: u64,
    bites: u64,
}

impl CoverageNote {
    pub(super) fn of(coverage: &Coverage) -> Self {
        let faults = coverage.faults.iter().map(|(family, count)| {
            let note = FaultNote { faults: count.n_faults, bit: count.n_bit, bites: count.n_bites };
            (family.name(), note)
        });
        Self {
            faults: faults.collect(),
            events: coverage.events.iter().map(|(kind, n)| (kind.name(), *n)).collect(),
            events_that_never_happened: coverage.missing_events().map(|kind| kind.name()).collect(),
        }
    }
}

fn summary(gathered: &Gathered) -> String {
    let Gathered { tally, reports, elapsed } = gathered;
    let rate = tally.n_runs as f64 / elapsed.as_secs_f64().max(1e-9);
    let mut text = format!(
        "\n{} in {}, {rate:.0} a second; {} failed\n",
        counted(tally.n_runs, "seed"),
        short(*elapsed),
        tally.n_failed
    );
    for (finding, report) in tally.findings.iter().zip(reports) {
        let seeds: Vec<_> = finding.seeds.iter().map(ToString::to_string).collect();
        let more = if finding.n_seeds > finding.seeds.len() as u64 { ", …" } else { "" };
        let Finding { signature, n_seeds, .. } = finding;
        let capsule = report.capsule.as_deref().unwrap_or_default();
        let seeds = seeds.join(", ");
        writeln!(text, "  {signature}: {} ({seeds}{more}), {capsule}", counted(*n_seeds, "seed"))
            .expect("a String takes all");
    }
    text.push_str(&coverage_text(&tally.coverage));
    text
}

fn coverage_text(coverage: &Coverage) -> String {
    let faults = coverage
        .faults
        .iter()
        .map(|(family, count)| format!("{} {} of {}", family.name(), count.n_bit, count.n_faults));
    let events = coverage.events.iter().map(|(kind, n)| format!("{kind} {n}"));
    let unbitten = coverage.missing_faults().map(|family| family.name().to_owned());
    let missing = coverage.missing_events().map(|kind| kind.name().to_owned());
    let lines = [
        paragraph("faults that bit", faults.collect()),
        paragraph("kinds of fault that never did", unbitten.collect()),
        paragraph("events", events.collect()),
        paragraph("events that never happened", missing.collect()),
    ];
    lines.concat()
}

/// A heading and a list, in lines of at most a hundred columns.
fn paragraph(heading: &str, items: Vec<String>) -> String {
    const WIDTH: usize = 100;
    if items.is_empty() {
        return String::new();
    }
    let mut text = format!("{heading}\n");
    let mut line = String::from(" ");
    for (n, item) in items.iter().enumerate() {
        let comma = if n + 1 < items.len() { "," } else { "" };
        if line.chars().count() + 1 + item.chars().count() + comma.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from(" ");
        }
        write!(line, " {item}{comma}").expect("a String takes all");
    }
    text.push_str(&line);
    text.push('\n');
    text
}
