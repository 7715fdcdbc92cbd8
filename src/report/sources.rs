//! What a logdir has of a run: traces, losses, ledgers. Whatever is there is shown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{Document, facts};
use crate::events::{Series, VALIDATION_ACCURACY};
use crate::ids::{Slot, Step, TaskId};
use crate::ledger::{self, Ledger, LedgerError, Line, Push, Why};
use crate::losses::{self, LOSSES_FILE, LossesError};
use crate::trace::file::TraceError;
use crate::trace::marks::Steps;
use crate::trace::updates::{Dropped, UpdateMade};
use crate::trace::{EventKind, History, Run};

/// Clocks that are off by less are not worth a word.
const NOTABLE_CORRECTION: i64 = 100_000; // a tenth of a millisecond

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Nothing of a run is there.
    #[error(
        "there are neither traces nor losses nor ledgers in {}: give the folder of a run (--logdir); \
         tasks leave traces there with --trace", .0.display()
    )]
    Nothing(PathBuf),
    /// A trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The losses cannot be read.
    #[error(transparent)]
    Losses(#[from] LossesError),
    /// A ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The report of a run, of all that its logdir has.
///
/// # Errors
/// If nothing is there, or something is there and cannot be read.
pub fn of_logdir(logdir: &Path) -> Result<Document, ReportError> {
    let run = match Run::read(logdir) {
        Ok(run) => Some(run),
        Err(TraceError::None(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let ledgers = match ledger::read_all(logdir) {
        Ok(ledgers) => ledgers,
        Err(LedgerError::None(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let losses_file = logdir.join(LOSSES_FILE);
    let losses = if losses_file.exists() { Some(losses::read(&losses_file)?) } else { None };
    if run.is_none() && losses.is_none() && ledgers.is_empty() {
        return Err(ReportError::Nothing(logdir.to_owned()));
    }
    let mut accuracies = Series::new(logdir, VALIDATION_ACCURACY);
    let document = Document::named(logdir.display().to_string(), false);
    // Event files are written for another program: without them, the report lacks one curve.
    let document = match accuracies.read() {
        Ok(()) => document.with_accuracies(accuracies.points()),
        Err(_) => document,
    };
    Ok(match run {
        Some(run) => {
            let history = History::of(run);
            let losses = losses.unwrap_or_else(|| traced_losses(&history));
            with_notes(of_history(document, &history), &history).with_losses(&losses)
        }
        None => without_trace(document, &ledgers).with_losses(&losses.unwrap_or_default()),
    })
}

/// With all that a history tells, and the facts to be said first.
#[must_use]
pub fn of_history(document: Document, history: &History) -> Document {
    let document = document.with_history(history);
    Document { facts: facts(history, &Steps::of(history)), ..document }
}

/// Losses of updates that were made, as their workers computed them.
fn traced_losses(history: &History) -> Vec<(Step, Slot, f32)> {
    let computed = history.events.iter().filter(|it| it.input.what.kind == EventKind::Computed);
    let loss = |event: &crate::trace::history::Happened| {
        let what = event.input.what;
        Some((what.step?, what.slot?, event.input.details.loss?))
    };
    computed.filter_map(loss).collect()
}

fn with_notes(mut document: Document, history: &History) -> Document {
    let names =
        |tasks: &[TaskId]| tasks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let untraced = history.untraced();
    if !untraced.is_empty() {
        document.notes.push(format!(
            "There is no trace of {}: give --trace to every task, and bring all trace-*.jsonl \
             together in one folder. What the run waited for may be theirs.",
            names(&untraced)
        ));
    }
    for life in &history.lives {
        if let Some(why) = &life.cut {
            document.notes.push(format!("The trace of {} is not whole: {why}.", life.task));
        }
        if life.correction.abs() >= NOTABLE_CORRECTION {
            let by = Duration::from_nanos(life.correction.unsigned_abs());
            let way = if life.correction > 0 { "behind" } else { "ahead" };
            document.notes.push(format!(
                "The clock of {} was {by:?} {way}, to judge by its messages; what it did is shown \
                 where it must have been.",
                life.task
            ));
        }
    }
    document
}

/// What ledgers tell: which gradients made each update, but not when.
fn without_trace(mut document: Document, ledgers: &[Ledger]) -> Document {
    document.notes.push(
        "There is no trace of this run, so that nothing is known of time: run it with --trace \
         (or trace = true under [checkpoint]) to see the timeline and the critical path."
            .to_owned(),
    );
    if ledgers.is_empty() {
        document.notes.push(
            "There is no ledger either: with --ledger it would be known who computed what."
                .to_owned(),
        );
    }
    let mut headers =
        ledgers.iter().flat_map(|ledger| &ledger.lines).filter_map(|line| match &line.line {
            Line::Header(header) => Some(header),
            _ => None,
        });
    if let Some(header) = headers.next_back() {
        let ps = (0..header.n_ps).map(TaskId::ps);
        let workers = (0..header.total_num_replicas).map(TaskId::worker);
        document.name_tasks(ps.chain(workers).collect());
    }
    let (made, unused) = of_ledgers(ledgers);
    document.with_updates(&made, &unused)
}

fn of_ledgers(ledgers: &[Ledger]) -> (Vec<UpdateMade>, Vec<Dropped>) {
    let mut made: std::collections::BTreeMap<Step, UpdateMade> = std::collections::BTreeMap::new();
    let mut unused = Vec::new();
    for (ledger, is_first) in ledgers.iter().zip([true].into_iter().chain(std::iter::repeat(false)))
    {
        for numbered in &ledger.lines {
            match &numbered.line {
                Line::Update(update) if is_first => {
                    let worker = |push: &Push| TaskId::worker(push.worker);
                    let slots =
                        update.slots.iter().map(|it| (it.slot, it.push.as_ref().map(worker)));
                    let n_before = made.get(&update.step).map_or(0, |before| before.n_times);
                    let update = UpdateMade {
                        step: update.step,
                        at: Duration::ZERO,
                        slots: slots.collect(),
                        last: None,
                        margin: Duration::ZERO,
                        n_times: n_before + 1,
                    };
                    made.insert(update.step, update);
                }
                Line::Dropped(it) => unused.push(Dropped {
                    step: it.step,
                    slot: it.slot,
                    worker: Some(TaskId::worker(it.worker)),
                    ps: TaskId::ps(ledger.ps),
                    at: None,
                    why: match it.why {
                        Why::Duplicate => "duplicate",
                        Why::Stale => "stale",
                        Why::Fenced => "fenced",
                        Why::Surplus => "surplus",
                        Why::Uncounted => "uncounted",
                    },
                }),
                _ => {}
            }
        }
    }
    (made.into_values().collect(), unused)
}
