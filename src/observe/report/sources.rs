//! Creates a document from the files in a logdir: traces, losses, ledgers, event files,
//! checkpoints. Each kind of file may be missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::{Document, facts};
use super::failure::Failure;
use super::settings;
use crate::events::{RunInfo, STEPS_PER_SEC, Series, VALIDATION_ACCURACY};
use crate::ledger::{self, Ledger, Line, Push};
use crate::trace::marks::Steps;
use crate::trace::updates::{Dropped, UpdateMade};
use crate::trace::{EventKind, History, Run};
use unisono_core::ids::{Slot, Step, TaskId};
use unisono_files::checkpoint::steps_among;
use unisono_files::disk::lines::ReadError;
use unisono_files::disk::{Disk as _, RealDisk};
use unisono_files::losses;
use unisono_files::losses::error::{LOSSES_FILE, LossesError};

/// The smallest correction of a clock that the notes of a report mention, in nanoseconds (0.1 ms).
const NOTABLE_CORRECTION: i64 = 100_000;

/// The reason why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The folder contains no files of a run.
    #[error(
        "there are neither traces nor losses nor ledgers in {}: give the folder of a run (--logdir); \
         tasks write traces there with --trace", .0.display()
    )]
    Nothing(PathBuf),
    /// A trace or a ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The losses cannot be read.
    #[error(transparent)]
    Losses(#[from] LossesError),
}

/// Returns the report of the run in a logdir.
///
/// # Errors
/// Returns an error if the logdir has neither traces nor losses nor ledgers, or if one of these
/// files cannot be read.
pub fn of_logdir(logdir: &Path) -> Result<Document, ReportError> {
    let run = match Run::read(logdir) {
        Ok(run) => Some(run),
        Err(ReadError::NoFile { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let ledgers = match ledger::read_all(logdir) {
        Ok(ledgers) => ledgers,
        Err(ReadError::NoFile { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let losses_file = logdir.join(LOSSES_FILE);
    let losses = if losses_file.exists() { Some(losses::read(&losses_file)?) } else { None };
    if run.is_none() && losses.is_none() && ledgers.is_empty() {
        return Err(ReportError::Nothing(logdir.to_owned()));
    }
    // Damaged event files are ignored: they are meant for TensorBoard, and the report does not
    // depend on them.
    let info = RunInfo::read(logdir).unwrap_or_default();
    let settings = settings::of_logdir(logdir, &info, &ledgers, run.as_ref());
    let document = Document {
        settings: settings::rows(&settings),
        started_ms: info.began.map(millis),
        ..Document::named(logdir.display().to_string(), false)
    };
    let document = with_events(document, logdir);
    let files = RealDisk.list(logdir).unwrap_or_default();
    let document = document.with_checkpoints(steps_among(&files));
    Ok(match run {
        Some(run) => {
            let history = History::of(run);
            let losses = losses.unwrap_or_else(|| traced_losses(&history));
            let failure = Failure::that_ended(&history);
            let mut document = with_notes(of_history(document, &history), &history)
                .with_failures(failure.as_slice(), &Steps::of(&history))
                .with_losses(&losses);
            // The trace replaces the start time from the event files, because the first task starts
            // before the chief writes its first event.
            document.started_ms = Some(millis(history.began));
            document
        }
        None => without_trace(document, &ledgers).with_losses(&losses.unwrap_or_default()),
    })
}

/// Adds the curves of the event files.
fn with_events(mut document: Document, logdir: &Path) -> Document {
    let [accuracies, rates] = [VALIDATION_ACCURACY, STEPS_PER_SEC].map(|tag| {
        let mut series = Series::new(logdir, tag);
        series.read().is_ok().then_some(series)
    });
    document.accuracies.extend(accuracies.iter().flat_map(Series::points));
    let rates = rates.iter().flat_map(Series::points);
    document.rates.extend(rates.filter(|(_, rate)| rate.is_finite()));
    document
}

fn millis(since_1970: Duration) -> u64 {
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// Adds everything that a history contains, with its facts.
#[must_use]
pub fn of_history(document: Document, history: &History) -> Document {
    let document = document.with_history(history);
    Document { facts: facts(history, &Steps::of(history)), ..document }
}

/// Returns the loss of every gradient that a worker computed, according to the traces.
fn traced_losses(history: &History) -> Vec<(Step, Slot, f32)> {
    let computed = history.events.iter().filter(|it| it.input.what.kind == EventKind::Computed);
    let loss = |event: &crate::trace::history::TimedEvent| {
        let what = event.input.what;
        Some((what.step?, what.slot?, event.input.details.loss?.0))
    };
    computed.filter_map(loss).collect()
}

fn with_notes(mut document: Document, history: &History) -> Document {
    let names =
        |tasks: &[TaskId]| tasks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let untraced = history.untraced();
    if !untraced.is_empty() {
        document.notes.push(format!(
            "There is no trace of {}: pass --trace to every task, and collect all trace-*.jsonl \
             in one folder. The critical path may lack their part.",
            names(&untraced)
        ));
    }
    for life in &history.lives {
        if let Some(why) = &life.cut {
            document.notes.push(format!("The trace of {} is incomplete: {why}.", life.task));
        }
        if life.correction.abs() >= NOTABLE_CORRECTION {
            let by = Duration::from_nanos(life.correction.unsigned_abs());
            let way = if life.correction > 0 { "behind" } else { "ahead" };
            document.notes.push(format!(
                "The clock of {} was {by:?} {way}, judging by its messages. The page shows its \
                 events at the corrected times.",
                life.task
            ));
        }
    }
    document
}

/// Adds the content of the ledgers to the report of a run without a trace: the gradients of each
/// update, without times.
fn without_trace(mut document: Document, ledgers: &[Ledger]) -> Document {
    document.notes.push(
        "There is no trace of this run: run it with --trace (or trace = true under [checkpoint]) \
         to see the timeline and the critical path."
            .to_owned(),
    );
    if ledgers.is_empty() {
        document.notes.push(
            "There is no ledger of this run: run it with --ledger to see which worker computed \
             each gradient."
                .to_owned(),
        );
    }
    if let Some(header) = ledger::last_header(ledgers) {
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
    for (place, ledger) in ledgers.iter().enumerate() {
        for line in &ledger.lines {
            match line {
                Line::Update(update) if place == 0 => {
                    let worker = |push: &Push| TaskId::worker(push.worker);
                    let slots =
                        update.slots.iter().map(|it| (it.slot, it.push.as_ref().map(worker)));
                    let n_before = made.get(&update.step).map_or(0, |before| before.n_times);
                    let update = UpdateMade {
                        step: update.step,
                        slots: slots.collect(),
                        n_times: n_before + 1,
                        ..UpdateMade::default()
                    };
                    made.insert(update.step, update);
                }
                Line::Dropped(it) => unused.push(Dropped {
                    step: it.step,
                    slot: it.slot,
                    worker: Some(TaskId::worker(it.worker)),
                    ps: TaskId::ps(ledger.ps),
                    at: None,
                    why: it.why,
                }),
                _ => {}
            }
        }
    }
    (made.into_values().collect(), unused)
}
