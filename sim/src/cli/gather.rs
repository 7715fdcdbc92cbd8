//! Plays many runs of one scenario, counts the results, and reports each new kind of failure.

use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::Duration;

use super::context::CommandContext;
use super::exit_codes::worst_exit_code;
use super::progress::Progress;
use crate::many::case::{Case, Source};
use crate::many::pool;
use crate::many::tally::{Finding, Tally};
use crate::show::capsule::Capsule;
use crate::show::report::Report;

/// The result of many runs.
pub(super) struct Gathered {
    pub(super) tally: Tally,
    /// The failures of all runs, one entry for each signature.
    pub(super) failures: Vec<FailureResult>,
    /// Wall-clock time.
    pub(super) elapsed: Duration,
}

/// Returns the exit code of the worst failure.
pub(super) fn exit_code(failures: &[FailureResult]) -> u8 {
    worst_exit_code(failures.iter().map(|failure| failure.report.exit_code))
}

/// Plays the cases with the given numbers, until `is_enough` returns `true`. Results are counted in
/// the order of the numbers. The length of the progress bar is `n_runs`, if that number is known.
pub(super) fn gather(
    context: &CommandContext,
    (source, capsules): (&Source, &Path),
    (numbers, n_runs): (Range<u64>, Option<u64>),
    case_of: impl Fn(u64) -> Case + Sync,
    is_enough: impl Fn(&Tally, Duration) -> bool,
) -> anyhow::Result<Gathered> {
    let progress = Progress::new(&context.screen, n_runs);
    let (mut tally, mut reports) = (Tally::default(), Vec::new());
    let file = |capsule: &Capsule| capsule.file_in(capsules);
    let play = |number| case_of(number).brief(&context.caches, context.options);
    let ended = pool::in_order(context.jobs, numbers, play, |number, run| {
        progress.step();
        if let Some(Finding { first, .. }) = tally.add(run) {
            match context.keep(source, &case_of(number), first, context.options, file) {
                Ok(report) => {
                    context.print_text(&format!("\n{report}"));
                    reports.push(report);
                }
                Err(error) => return ControlFlow::Break(Err(error)),
            }
        }
        progress.note_failures(&tally);
        if is_enough(&tally, progress.elapsed()) {
            return ControlFlow::Break(Ok(()));
        }
        ControlFlow::Continue(())
    });
    progress.finish();
    ended.unwrap_or(Ok(()))?;
    let findings = tally.findings.iter().zip(reports);
    let failures = findings.map(|(finding, report)| FailureResult::new(finding, report)).collect();
    Ok(Gathered { tally, failures, elapsed: progress.elapsed() })
}

/// All failures with the same signature, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FailureResult {
    /// Number of seeds with this failure.
    pub(super) n_seeds: u64,
    /// The first seeds with this failure, in ascending order.
    pub(super) first_seeds: Vec<u64>,
    #[serde(flatten)]
    pub(super) report: Report,
}

impl FailureResult {
    pub(super) fn new(finding: &Finding, report: Report) -> Self {
        Self { n_seeds: finding.n_seeds, first_seeds: finding.seeds.clone(), report }
    }
}
