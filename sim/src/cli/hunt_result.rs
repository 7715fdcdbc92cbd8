//! The result of the command `hunt`, or of one shard of its seeds, as text and as the JSON that
//! `merge` reads.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use unisono_observe::trace::EventKind;
use unisono_terminal::output::write_file;

use super::context::CommandContext;
use super::gather::{FailureResult, exit_code};
use super::shard::Shard;
use crate::durations::short;
use crate::many::tally::{Coverage, MAX_SEEDS_KEPT};
use crate::record::orders::Orders;
use crate::show::capsule::Build;
use unisono_observe::counted::counted;

/// The value of the field `command` in the JSON output of `hunt`.
pub(super) const COMMAND: &str = "hunt";

/// The result of the command `hunt`, or of one shard of its seeds. The field names are also the
/// keys of the JSON output. The fields before `shard` are equal in all shards of one `hunt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HuntResult {
    pub(super) schema: u32,
    pub(super) command: String,
    pub(super) scenario: String,
    pub(super) path: String,
    /// The text of the scenario. `merge` compares these texts, so that results of two different
    /// files with the same name are not merged by mistake.
    pub(super) scenario_text: String,
    pub(super) first_seed: u64,
    /// The last seed of all shards; `None` if --for is given without --seeds.
    pub(super) last_seed: Option<u64>,
    pub(super) build: Build,
    /// The name of the planted bug.
    pub(super) bug: Option<String>,
    /// The shard to which the counted seeds belong.
    pub(super) shard: Shard,
    /// Number of seeds that were played.
    pub(super) seeds: u64,
    pub(super) failed: u64,
    pub(super) events: u64,
    pub(super) orders: Orders,
    pub(super) elapsed_secs: f64,
    pub(super) coverage: CoverageNote,
    /// One entry for each signature, ordered by the first seed with that signature.
    pub(super) failures: Vec<FailureResult>,
    pub(super) exit_code: u8,
}

impl FailureResult {
    /// Adds the failures that another shard has found with the same signature. Keeps the report of
    /// the smaller first seed, so the merged result does not depend on the division into shards.
    fn add(&mut self, other: Self) {
        let n_seeds = self.n_seeds + other.n_seeds;
        let mut first_seeds = [&*self.first_seeds, &*other.first_seeds].concat();
        first_seeds.sort_unstable();
        first_seeds.truncate(MAX_SEEDS_KEPT);
        if other.first_seeds < self.first_seeds {
            *self = other;
        }
        (self.n_seeds, self.first_seeds) = (n_seeds, first_seeds);
    }
}

impl HuntResult {
    /// Reads a file that was written by `--out` or contains the output of `--json`.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the result {}", path.display()))?;
        let is_none = || {
            format!("{} is not a result of `unisono-sim hunt` with --out or --json", path.display())
        };
        let result: Self = serde_json::from_str(&text).with_context(is_none)?;
        let is_fit = result.command == COMMAND
            && result.shard.index < result.shard.of
            && result.failures.iter().all(|failure| !failure.first_seeds.is_empty());
        ensure!(is_fit, is_none());
        Ok(result)
    }

    /// Prints the result, and also writes the result to the file `out`, if `out` is given. Creates
    /// missing folders. Returns the exit code.
    pub(super) fn conclude(
        &self,
        context: &CommandContext,
        out: Option<&Path>,
    ) -> anyhow::Result<u8> {
        context.print_text(&self.text());
        context.print_json(self)?;
        if let Some(path) = out {
            write_file(path, serde_json::to_string(self)? + "\n")?;
        }
        Ok(self.exit_code)
    }

    /// Adds the result of another shard of the same `hunt`.
    pub(super) fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.failed += other.failed;
        self.events += other.events;
        self.elapsed_secs = self.elapsed_secs.max(other.elapsed_secs);
        for failure in other.failures {
            let signature = &failure.report.signature;
            let known = |known: &&mut FailureResult| known.report.signature == *signature;
            match self.failures.iter_mut().find(known) {
                Some(known) => known.add(failure),
                None => self.failures.push(failure),
            }
        }
        self.failures.sort_by_key(|failure| failure.first_seeds[0]);
        self.orders.merge(&other.orders);
        let mut coverage = std::mem::take(&mut self.coverage.seen);
        coverage.merge(&other.coverage.seen);
        self.coverage = coverage.into();
        self.exit_code = exit_code(&self.failures);
    }

    /// Returns the number of seeds of the shard; `None` if `hunt` had --for and not --seeds.
    pub(super) fn n_seeds(&self) -> Option<u64> {
        let behind_first = self.last_seed?.checked_sub(self.first_seed);
        // The count saturates, because the number of all seeds, 2^64, does not fit into a `u64`.
        let n_seeds = behind_first.map_or(0, |behind_first| behind_first.saturating_add(1));
        Some(self.shard.n_seeds(n_seeds))
    }

    /// Returns the result as text for the user.
    pub(super) fn text(&self) -> String {
        let elapsed = Duration::try_from_secs_f64(self.elapsed_secs).unwrap_or_default();
        let rate = self.seeds as f64 / self.elapsed_secs.max(1e-9);
        let mut text = format!(
            "\n{} in {}, {rate:.0} a second; {} of events\n{}\n",
            counted(self.seeds, "seed"),
            short(elapsed),
            self.orders,
            failed_text(self.failed, self.seeds)
        );
        for failure in &self.failures {
            let FailureResult { n_seeds, first_seeds, report } = failure;
            let seeds: Vec<_> = first_seeds.iter().map(ToString::to_string).collect();
            let more = if *n_seeds > seeds.len() as u64 { ", …" } else { "" };
            let capsule = report.capsule.as_deref().unwrap_or_default();
            let (n_seeds, seeds) = (counted(*n_seeds, "seed"), seeds.join(", "));
            let line = format!("  {}: {n_seeds} ({seeds}{more}), {capsule}\n", report.signature);
            text.push_str(&line);
        }
        text + &coverage_text(&self.coverage.seen)
    }
}

/// Formats as `58 of 64 seeds failed`.
pub(super) fn failed_text(failed: u64, seeds: u64) -> String {
    format!("{failed} of {} failed", counted(seeds, "seed"))
}

/// Counts of faults, effects and events by kind, and the kinds of events that never happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CoverageNote {
    #[serde(flatten)]
    seen: Coverage,
    events_that_never_happened: Vec<EventKind>,
}

impl From<Coverage> for CoverageNote {
    fn from(seen: Coverage) -> Self {
        Self { events_that_never_happened: seen.missing_events().collect(), seen }
    }
}

fn coverage_text(coverage: &Coverage) -> String {
    let faults = coverage.faults.iter().map(|(family, count)| {
        format!("{} {} of {}", family.name(), count.n_with_effect, count.n_faults)
    });
    let events = coverage.events.iter().map(|(kind, n)| format!("{kind} {n}"));
    let without_effect = coverage.missing_faults().map(|family| family.name().to_owned());
    let missing = coverage.missing_events().map(|kind| kind.name().to_owned());
    let lines = [
        paragraph("faults with an effect", faults.collect()),
        paragraph("kinds of faults without any effect", without_effect.collect()),
        paragraph("events", events.collect()),
        paragraph("events that never happened", missing.collect()),
    ];
    lines.concat()
}

/// Formats a heading and a list in lines of at most 100 columns.
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
        write!(line, " {item}{comma}").expect("writing to a String cannot fail");
    }
    text.push_str(&line);
    text.push('\n');
    text
}
