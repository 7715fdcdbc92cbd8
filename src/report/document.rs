//! All that a report shows, as the script of the page reads it: lists of numbers side by side.
//!
//! Times are whole nanoseconds, since the run began; −1 stands for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Slot, Step, TaskId};
use crate::trace::History;
use crate::trace::marks::{Mark, Steps, marks};
use crate::trace::path::{critical_path, gated};
use crate::trace::timeline::{Lane, Span, State, lanes};
use crate::trace::updates::{Dropped, UpdateMade, dropped, updates};

/// The most messages that a page draws as arrows; beyond, it would be too large to be opened.
const MAX_MESSAGES: usize = 400_000;

/// A report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// What run it is of.
    pub title: String,
    /// Whether its time is virtual.
    pub is_simulated: bool,
    /// What there is to be said first.
    pub facts: Vec<Fact>,
    /// What is missing, and how to get it; what was assumed.
    pub notes: Vec<String>,
    /// The names of all tasks: they are numbers in what follows.
    pub tasks: Vec<String>,
    /// The names of what a task can be at: they are numbers in what follows.
    pub states: Vec<String>,
    /// How long the run took.
    pub length: i64,
    /// What each task was at.
    pub lanes: Vec<LaneColumns>,
    /// Messages with tensors.
    pub messages: MessageColumns,
    /// The critical path, with no gap.
    pub path: PathColumns,
    /// How long the run waited for each task that it waited for.
    pub gates: Vec<Gate>,
    /// The updates, by step.
    pub updates: UpdateColumns,
    /// Gradients that came and were not used.
    pub dropped: Vec<DroppedRow>,
    /// The losses, by step.
    pub losses: LossColumns,
    /// The validation accuracies of the summaries, by step.
    pub accuracies: AccuracyColumns,
    /// What is marked.
    pub marks: Vec<MarkRow>,
}

/// Something to be said in a word or two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What.
    pub name: String,
    /// How much of it.
    pub value: String,
}

/// A lane: its spans follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneColumns {
    /// Whose.
    pub task: usize,
    /// When its first span begins.
    pub begin: i64,
    /// How long each is, and what, of which step and slot, and with whom.
    pub length: Vec<i64>,
    /// As said.
    pub state: Vec<u8>,
    /// As said.
    pub step: Vec<i64>,
    /// As said.
    pub slot: Vec<i64>,
    /// As said.
    pub peer: Vec<i64>,
    /// Checkpoints: begin, length and step of each.
    pub files: Vec<(i64, i64, i64)>,
}

/// Messages, by when they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageColumns {
    /// From whom,
    pub from: Vec<usize>,
    /// to whom,
    pub to: Vec<usize>,
    /// sent when,
    pub sent: Vec<i64>,
    /// on its way for how long.
    pub took: Vec<i64>,
    /// Its kind, as a number in `kinds`.
    pub kind: Vec<usize>,
    /// Of which step,
    pub step: Vec<i64>,
    /// and slot.
    pub slot: Vec<i64>,
    /// The kinds of messages.
    pub kinds: Vec<String>,
}

/// The critical path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathColumns {
    /// For whom the run waited,
    pub task: Vec<usize>,
    /// what that was at,
    pub state: Vec<u8>,
    /// for how long,
    pub length: Vec<i64>,
    /// of which step.
    pub step: Vec<i64>,
}

/// How long the run waited for a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Which.
    pub task: usize,
    /// By what it was at.
    pub by_state: Vec<i64>,
    /// Updates for which its gradient came last.
    pub n_last: u64,
    /// By how much those came later than the ones before them, together.
    pub margin: i64,
}

/// Updates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateColumns {
    /// Which.
    pub step: Vec<u64>,
    /// When it was made.
    pub at: Vec<i64>,
    /// Whose gradient came last,
    pub last: Vec<i64>,
    /// and by how much.
    pub margin: Vec<i64>,
    /// How often it was made.
    pub times: Vec<u32>,
    /// The slots that it used,
    pub slots: Vec<Vec<u32>>,
    /// and who computed each.
    pub workers: Vec<Vec<i64>>,
}

/// A gradient that was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRow {
    /// Its step,
    pub step: u64,
    /// its slot,
    pub slot: u32,
    /// its worker,
    pub worker: i64,
    /// the ps that did not use it,
    pub ps: i64,
    /// when that was, and why.
    pub at: i64,
    /// As said.
    pub why: String,
}

/// The mean loss of the slots of each update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LossColumns {
    /// Which update.
    pub step: Vec<u64>,
    /// Its loss; nothing if it is no number.
    pub loss: Vec<Option<f32>>,
}

/// The validation accuracies of the summaries and the checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccuracyColumns {
    /// Version of the parameters.
    pub step: Vec<u64>,
    /// Share of the validation examples that this version classifies rightly, from 0 to 1.
    pub accuracy: Vec<f32>,
}

/// A mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRow {
    /// When,
    pub at: i64,
    /// until when,
    pub until: i64,
    /// at which step,
    pub step: i64,
    /// of which task.
    pub task: i64,
    /// In a word.
    pub kind: String,
    /// In a sentence.
    pub text: String,
}

impl Document {
    /// With nothing in it but a name.
    #[must_use]
    pub fn named(title: String, is_simulated: bool) -> Self {
        let states = State::ALL.map(|state| state.name().to_owned()).to_vec();
        Self { title, is_simulated, states, ..Self::default() }
    }

    /// With all that a trace tells.
    #[must_use]
    pub fn with_history(mut self, history: &History) -> Self {
        self.name_tasks(history.tasks.clone());
        let path = critical_path(history);
        let (made, unused) = (updates(history), dropped(history));
        self.length = ns(history.length);
        self.lanes = lanes(history).iter().map(|lane| self.lane(lane)).collect();
        self.messages = self.messages(history);
        for segment in &path {
            self.path.task.push(self.place(segment.task));
            self.path.state.push(segment.state as u8);
            self.path.length.push(ns(segment.end - segment.begin));
            self.path.step.push(step(segment.step));
        }
        let of_task = gated(&path);
        let gate = |task: &TaskId| {
            let states = of_task.get(task);
            let last = made.iter().filter(|update| update.last == Some(*task));
            Gate {
                task: self.place(*task),
                by_state: State::ALL
                    .map(|state| states.and_then(|it| it.get(&state)).map_or(0, |time| ns(*time)))
                    .to_vec(),
                n_last: last.clone().count() as u64,
                margin: last.map(|update| ns(update.margin)).sum(),
            }
        };
        self.gates = history.tasks.iter().map(gate).collect();
        self.with_updates(&made, &unused).with_marks(&marks(history))
    }

    /// With these tasks.
    pub fn name_tasks(&mut self, tasks: Vec<TaskId>) {
        self.tasks = tasks.iter().map(ToString::to_string).collect();
    }

    /// With these updates, and gradients that were not used.
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
            ps: self.place_of(Some(it.ps)),
            at: it.at.map_or(-1, ns),
            why: it.why.to_owned(),
        };
        self.dropped = unused.iter().map(row).collect();
        self
    }

    /// With these marks beside those that are there.
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

    /// With these validation accuracies, ascending by step.
    #[must_use]
    pub fn with_accuracies(mut self, accuracies: impl Iterator<Item = (Step, f32)>) -> Self {
        for (step, accuracy) in accuracies {
            self.accuracies.step.push(step.0);
            self.accuracies.accuracy.push(accuracy);
        }
        self
    }

    /// With these losses, of slots of steps, in any order; of a slot that is there twice, the last.
    #[must_use]
    pub fn with_losses(mut self, losses: &[(Step, Slot, f32)]) -> Self {
        let mut steps: BTreeMap<Step, BTreeMap<Slot, f32>> = BTreeMap::new();
        for (step, slot, loss) in losses {
            steps.entry(*step).or_default().insert(*slot, *loss);
        }
        for (step, slots) in steps {
            let mean = slots.values().sum::<f32>() / slots.len() as f32;
            self.losses.step.push(step.0);
            self.losses.loss.push(Some(mean).filter(|mean| mean.is_finite()));
        }
        self
    }

    fn lane(&self, lane: &Lane) -> LaneColumns {
        let mut columns = LaneColumns {
            task: self.place(lane.task),
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
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        let has_tensor = |message: &&crate::trace::history::Message| {
            history.events[message.sent].does[message.does].details.bytes.is_some()
        };
        let mut messages: Vec<_> = history.messages.iter().filter(has_tensor).collect();
        messages.sort_by_key(|message| history.events[message.sent].at);
        for message in messages.into_iter().take(MAX_MESSAGES) {
            let (sent, came) = (&history.events[message.sent], &history.events[message.received]);
            let what = sent.does[message.does].what;
            let name = what.kind.name().trim_start_matches("sends-");
            let kind = *kinds.entry(name).or_insert_with(|| {
                columns.kinds.push(name.to_owned());
                columns.kinds.len() - 1
            });
            columns.from.push(self.place(history.task(message.sent)));
            columns.to.push(self.place(history.task(message.received)));
            columns.sent.push(ns(sent.at));
            columns.took.push(ns(came.at.saturating_sub(sent.at)));
            columns.kind.push(kind);
            columns.step.push(step(what.step));
            columns.slot.push(what.slot.map_or(-1, |slot| i64::from(slot.0)));
        }
        columns
    }

    fn place(&self, task: TaskId) -> usize {
        let name = task.to_string();
        self.tasks.iter().position(|known| *known == name).unwrap_or(0)
    }

    fn place_of(&self, task: Option<TaskId>) -> i64 {
        let name = task.map(|task| task.to_string());
        let place = self.tasks.iter().position(|known| Some(known) == name.as_ref());
        place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1)
    }
}

/// The first facts of a run that was traced.
#[must_use]
pub fn facts(history: &History, steps: &Steps) -> Vec<Fact> {
    let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
    let n_workers = history.tasks.iter().filter(|task| task.job == crate::ids::Job::Worker).count();
    let n_ps = history.tasks.len() - n_workers;
    let made = steps.at(Duration::MAX).unwrap_or_default();
    vec![
        fact("steps", format!("{made} of {}", history.training_steps)),
        fact("cluster", format!("{n_ps} ps, {n_workers} workers")),
        fact("gradients an update", format!("{}", history.replicas_to_aggregate)),
    ]
}

fn step(step: Option<Step>) -> i64 {
    step.and_then(|step| i64::try_from(step.0).ok()).unwrap_or(-1)
}

fn ns(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
