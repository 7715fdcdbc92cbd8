//! Many runs of one source: they are counted, and what fails is told and kept as it comes.

use serde::Serialize;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::Duration;

use super::progress::Progress;
use super::stage::Stage;
use crate::many::case::{Case, Source};
use crate::many::pool;
use crate::many::tally::{Finding, Tally};
use crate::show::report::Report;

/// What came of many runs.
pub(super) struct Gathered {
    pub(super) tally: Tally,
    /// One for each of the tally's findings.
    pub(super) reports: Vec<Report>,
    /// By the wall clock.
    pub(super) elapsed: Duration,
}

impl Gathered {
    pub(super) fn exit_code(&self) -> u8 {
        crate::cli::exit_codes::exit_code(self.tally.findings.iter().map(Finding::failure))
    }

    pub(super) fn into_failures(self) -> Vec<FailureResult> {
        let findings = self.tally.findings.iter().zip(self.reports);
        findings.map(|(finding, report)| FailureResult::of(finding, report)).collect()
    }
}

/// Plays a case for each of the numbers, in their order, until one `is_enough`. `n_runs` is how many
/// that will be, if it is known.
pub(super) fn gather(
    stage: &Stage,
    (source, capsules): (&Source, &Path),
    (numbers, n_runs): (Range<u64>, Option<u64>),
    case_of: impl Fn(u64) -> Case + Sync,
    is_enough: impl Fn(&Tally, Duration) -> bool,
) -> anyhow::Result<Gathered> {
    let progress = Progress::new(&stage.screen, n_runs);
    let (mut tally, mut reports, mut error) = (Tally::default(), Vec::new(), None);
    let play = |number| case_of(number).brief(&stage.caches, stage.options);
    pool::in_order(stage.jobs, numbers, play, |number, run| {
        progress.step();
        if let Some(Finding { first, .. }) = tally.add(run) {
            match stage.keep(source, &case_of(number), first, capsules) {
                Ok(report) => {
                    stage.say(&format!("\n{report}"));
                    reports.push(report);
                }
                Err(wrong) => {
                    error = Some(wrong);
                    return ControlFlow::Break(());
                }
            }
        }
        progress.note_failures(&tally);
        if is_enough(&tally, progress.elapsed()) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    progress.finish();
    match error {
        Some(error) => Err(error),
        None => Ok(Gathered { tally, reports, elapsed: progress.elapsed() }),
    }
}

/// One kind of failure.
#[derive(Serialize)]
pub(super) struct FailureResult {
    /// How many seeds fail so.
    pub(super) n_seeds: u64,
    /// The first of them.
    pub(super) first_seeds: Vec<u64>,
    #[serde(flatten)]
    pub(super) report: Report,
}

impl FailureResult {
    pub(super) fn of(finding: &Finding, report: Report) -> Self {
        Self { n_seeds: finding.n_seeds, first_seeds: finding.seeds.clone(), report }
    }
}
