//! The content of a report. The types of its parts are in `columns`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::columns::{
    Curve, DroppedRow, Fact, FailureRow, Gate, LaneColumns, MarkRow, MessageColumns, PathColumns,
    UpdateColumns,
};
use super::failure::Failure;
use super::rates;
use crate::counted::thousands;
use crate::trace::marks::{FAILURE, Mark, Steps, marks};
use crate::trace::path::{critical_path, gated};
use crate::trace::timeline::{Lane, Span, State, lanes};
use crate::trace::updates::{Dropped, UpdateMade, dropped, updates};
use crate::trace::{EventKind, History};
use unisono_core::ids::{Slot, Step, TaskId};

/// Maximum number of messages that a page draws as arrows. A browser cannot open much larger pages.
const MAX_MESSAGES: usize = 400_000;

/// The content of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Name of the run: its logdir, or its scenario and seed.
    pub title: String,
    /// Version of the program that created the report.
    pub version: String,
    /// Start of the run, in ms since 1970 (UTC); `None` if the start is not known, or the run is
    /// simulated.
    pub started_ms: Option<u64>,
    /// Whether the times are virtual times of a simulated run.
    pub is_simulated: bool,
    /// Reasons why the run failed; empty if no failure is known.
    pub failures: Vec<FailureRow>,
    /// Facts that the page shows at its top.
    pub facts: Vec<Fact>,
    /// Settings of the run that are known.
    pub settings: Vec<Fact>,
    /// Notes for the reader: which data are missing, which flags add them, and which assumptions
    /// were made.
    pub notes: Vec<String>,
    /// Names of all tasks. Other fields refer to a task by its index in this list.
    pub tasks: Vec<String>,
    /// Names of all states of a task. Other fields refer to a state by its index in this list.
    pub states: Vec<String>,
    /// Length of the run, in ns; 0 without a trace.
    pub length: i64,
    /// The states of each task over time.
    pub lanes: Vec<LaneColumns>,
    /// Messages with tensors.
    pub messages: MessageColumns,
    /// The critical path.
    pub path: PathColumns,
    /// The time that the run waited for each task.
    pub gates: Vec<Gate>,
    /// Updates.
    pub updates: UpdateColumns,
    /// Gradients that arrived and were not used.
    pub dropped: Vec<DroppedRow>,
    /// The mean loss over the slots of each update; `None` if the mean is not finite.
    pub losses: Curve<Option<f32>>,
    /// The validation accuracy of each evaluated version, from 0 to 1.
    pub accuracies: Curve<f32>,
    /// The steps per second. The value of each point is the mean over all steps since the previous
    /// point.
    pub rates: Curve<f32>,
    /// Steps of all checkpoints in the trace or in the logdir, ascending.
    pub checkpoints: Vec<u64>,
    /// Notable events of the run, ascending by time.
    pub marks: Vec<MarkRow>,
}

impl Document {
    /// Returns a document that has only a title.
    #[must_use]
    pub fn named(title: String, is_simulated: bool) -> Self {
        let states = State::ALL.map(|state| state.name().to_owned()).to_vec();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { title, version, is_simulated, states, ..Self::default() }
    }

    /// Adds everything that a trace contains.
    pub(crate) fn with_history(mut self, history: &History) -> Self {
        self.name_tasks(history.tasks.clone());
        let path = critical_path(history);
        let (made, unused) = (updates(history), dropped(history));
        self.length = ns(history.length);
        self.lanes = lanes(history).iter().map(|lane| self.lane(lane)).collect();
        self.messages = self.messages(history);
        for segment in &path {
            self.path.task.push(self.place_of(segment.task));
            self.path.length.push(ns(segment.end - segment.begin));
        }
        let of_task = gated(&path);
        let gate = |task: &TaskId| {
            let states = of_task.get(task);
            let last = made.iter().filter(|update| update.last == Some(*task));
            Gate {
                task: self.place_of(*task),
                by_state: State::ALL
                    .map(|state| states.and_then(|it| it.get(&state)).map_or(0, |time| ns(*time)))
                    .to_vec(),
                n_last: last.clone().count() as u64,
                margin: last.map(|update| ns(update.margin)).sum(),
            }
        };
        self.gates = history.tasks.iter().map(gate).collect();
        let rates = rates::of_updates(&made);
        // If the trace has too few updates, the rates from the event files are kept.
        if !rates.step.is_empty() {
            self.rates = rates;
        }
        let saved = history.events.iter().filter(|it| it.input.what.kind == EventKind::Saved);
        let saved: Vec<_> = saved.filter_map(|event| event.input.what.step).collect();
        self.with_updates(&made, &unused).with_marks(&marks(history)).with_checkpoints(saved)
    }

    /// Adds the steps of checkpoints, in any order. Skips steps that are already listed.
    pub(crate) fn with_checkpoints(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        let known = self.checkpoints.into_iter();
        let all: BTreeSet<_> = known.chain(steps.into_iter().map(|step| step.0)).collect();
        self.checkpoints = all.into_iter().collect();
        self
    }

    /// Adds reasons why the run failed. If the time of a failure is known, the failure also becomes
    /// a notable event on the timeline, unless the timeline already has an event for it.
    #[must_use]
    pub fn with_failures(mut self, failures: &[Failure], steps: &Steps) -> Self {
        let mut new_marks = Vec::new();
        for Failure { text, at, task } in failures {
            self.failures.push(FailureRow { text: text.clone(), at: at.map_or(-1, ns) });
            let Some(at) = *at else { continue };
            let is_marked = |mark: &MarkRow| mark.kind == FAILURE && mark.at == ns(at);
            if !self.marks.iter().any(is_marked) {
                let (kind, text) = (FAILURE.to_owned(), text.clone());
                let step = steps.at(at);
                new_marks.push(Mark { at, until: None, step, task: *task, kind, text });
            }
        }
        self.with_marks(&new_marks)
    }

    /// Sets the tasks.
    pub(crate) fn name_tasks(&mut self, tasks: Vec<TaskId>) {
        self.tasks = tasks.iter().map(ToString::to_string).collect();
    }

    /// Adds updates, and the gradients that were not used.
    #[must_use]
    pub fn with_updates(mut self, made: &[UpdateMade], unused: &[Dropped]) -> Self {
        for update in made {
            let columns = &mut self.updates;
            columns.step.push(update.step.0);
            columns.at.push(ns(update.at));
            columns.margin.push(ns(update.margin));
            columns.times.push(update.n_times);
            columns.slots.push(update.slots.iter().map(|(slot, _)| slot.0).collect());
            let workers = update.slots.iter().map(|(_, worker)| self.place_of(*worker)).collect();
            let last = self.place_of(update.last);
            self.updates.workers.push(workers);
            self.updates.last.push(last);
        }
        let row = |it: &Dropped| DroppedRow {
            step: it.step.0,
            slot: it.slot.0,
            worker: self.place_of(it.worker),
            ps: self.place_of(it.ps),
            why: it.why,
        };
        self.dropped = unused.iter().map(row).collect();
        self
    }

    /// Adds notable events to the existing events, and sorts all events by time.
    #[must_use]
    pub fn with_marks(mut self, marks: &[Mark]) -> Self {
        let row = |mark: &Mark| MarkRow {
            at: ns(mark.at),
            until: mark.until.map_or(-1, ns),
            step: step(mark.step),
            task: self.place_of(mark.task),
            kind: mark.kind.clone(),
            text: mark.text.clone(),
        };
        let rows: Vec<_> = marks.iter().map(row).collect();
        self.marks.extend(rows);
        self.marks.sort_by_key(|mark| mark.at);
        self
    }

    /// Adds the losses of slots, in any order. If a slot has several losses, the last one counts.
    #[must_use]
    pub fn with_losses(mut self, losses: &[(Step, Slot, f32)]) -> Self {
        let mut steps: BTreeMap<Step, BTreeMap<Slot, f32>> = BTreeMap::new();
        for (step, slot, loss) in losses {
            steps.entry(*step).or_default().insert(*slot, *loss);
        }
        for (step, slots) in steps {
            let mean = slots.values().sum::<f32>() / slots.len() as f32;
            self.losses.extend([(step, Some(mean).filter(|mean| mean.is_finite()))]);
        }
        self
    }

    fn lane(&self, lane: &Lane) -> LaneColumns {
        let mut columns = LaneColumns {
            task: self.place_of(lane.task),
            begin: lane.work.first().map_or(0, |span| ns(span.begin)),
            ..LaneColumns::default()
        };
        for span in &lane.work {
            columns.length.push(ns(span.end - span.begin));
            columns.state.push(span.state as u8);
            columns.step.push(step(span.step));
            columns.slot.push(span.slot.map_or(-1, |slot| i64::from(slot.0)));
            columns.peer.push(self.place_of(span.peer));
        }
        let file = |span: &Span| (ns(span.begin), ns(span.end - span.begin), step(span.step));
        columns.files = lane.files.iter().map(file).collect();
        columns
    }

    fn messages(&self, history: &History) -> MessageColumns {
        let mut columns = MessageColumns::default();
        let has_tensor = |message: &&crate::trace::history::Message| {
            history.events[message.sent].does[message.does].details.bytes.is_some()
        };
        let mut messages: Vec<_> = history.messages.iter().filter(has_tensor).collect();
        // The messages are sorted before they are limited, so that the page shows the first
        // messages of the run.
        messages.sort_by_key(|message| history.events[message.sent].at);
        for message in messages.into_iter().take(MAX_MESSAGES) {
            let (sent, came) = (&history.events[message.sent], &history.events[message.received]);
            columns.from.push(self.place_of(history.task(message.sent)));
            columns.to.push(self.place_of(history.task(message.received)));
            columns.sent.push(ns(sent.at));
            columns.took.push(ns(came.at.saturating_sub(sent.at)));
        }
        columns
    }

    /// Returns the index of a task; −1 if `task` is `None` or unknown.
    fn place_of(&self, task: impl Into<Option<TaskId>>) -> i64 {
        let name = task.into().map(|task| task.to_string());
        // A run has few tasks, so a linear search suffices.
        let place = self.tasks.iter().position(|known| Some(known) == name.as_ref());
        place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1)
    }
}

/// Returns the facts that a trace contains.
#[must_use]
pub fn facts(history: &History, steps: &Steps) -> Vec<Fact> {
    let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
    let n_workers =
        history.tasks.iter().filter(|task| task.job == unisono_core::ids::Job::Worker).count();
    let n_ps = history.tasks.len() - n_workers;
    let made = steps.at(Duration::MAX).unwrap_or_default();
    vec![
        fact("steps", format!("{} of {}", thousands(made.0), thousands(history.training_steps.0))),
        fact("cluster", format!("{n_ps} ps, {n_workers} workers")),
        fact("gradients per update", format!("{}", history.replicas_to_aggregate)),
    ]
}

fn step(step: Option<Step>) -> i64 {
    step.and_then(|step| i64::try_from(step.0).ok()).unwrap_or(-1)
}

fn ns(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
