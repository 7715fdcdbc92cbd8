//! A run on a common clock: the incarnations of all tasks, and the cause of each event.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::clocks;
use super::entry::Entry;
use super::messages::{EventAt, deliveries};
use super::named_event::EventKind;
use super::run::Run;
use crate::trace::line::TracedLife;
use unisono_core::ids::{Incarnation, Step, TaskId};

/// A run on a common clock.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All tasks of the cluster, including tasks without a trace. The ps come before the workers.
    pub tasks: Vec<TaskId>,
    /// R, the number of gradients that an update uses.
    pub replicas_to_aggregate: u32,
    /// Number of updates of the whole run.
    pub training_steps: Step,
    /// Incarnations of all tasks, ascending by task. For each task, the incarnations are in the
    /// order of their starts.
    pub lives: Vec<Life>,
    /// Events of all incarnations, in the order of [`History::lives`]. For each incarnation, the
    /// events are in the order of their times.
    pub events: Vec<TimedEvent>,
    /// Messages that were received, in the order of the receiving events.
    pub messages: Vec<Message>,
    /// Wall time of the first event, since 1970; zero for a simulated run.
    pub began: Duration,
    /// Time from the first to the last event.
    pub length: Duration,
}

/// An incarnation of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Task of the incarnation.
    pub task: TaskId,
    /// Position among the known incarnations of the task, counted from 1.
    pub number: u32,
    /// Number by which peers know the incarnation.
    pub incarnation: Incarnation,
    /// Time of the first event of the incarnation, since the start of the run.
    pub begin: Duration,
    /// Time of the last known event of the incarnation, since the start of the run.
    pub end: Duration,
    /// Events of the incarnation, as indices into [`History::events`].
    pub events: std::ops::Range<usize>,
    /// Index in [`History::events`] of the event that started a job which never completed; `None`
    /// if all jobs completed.
    pub unfinished: Option<usize>,
    /// Correction of the machine's wall clock, in nanoseconds. With this correction, no message is
    /// received before it was sent.
    pub correction: i64,
    /// Reason why the trace ends before the incarnation ends; `None` if the trace is complete, or
    /// the reason is unknown.
    pub cut: Option<String>,
}

/// An event on the common clock.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedEvent {
    /// Time since the start of the run.
    pub at: Duration,
    /// Incarnation of the event, as an index into [`History::lives`].
    pub life: usize,
    /// Input of the node.
    pub input: Entry,
    /// Effects of the node, in order.
    pub does: Vec<Entry>,
    /// Index in [`History::events`] of the event that caused this event; `None` if the cause is
    /// unknown. The cause of a received message is the event that sent the message. The cause of a
    /// result is the event that started the job.
    pub cause: Option<usize>,
    /// Whether a job was running during the event.
    pub is_busy: bool,
}

/// A message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sending event, as an index into [`History::events`].
    pub sent: usize,
    /// Index of the message among the effects of the sending event.
    pub does: usize,
    /// Receiving event, as an index into [`History::events`].
    pub received: usize,
}

impl History {
    /// Aligns the clocks of all incarnations of a run, and finds the causes of events.
    #[must_use]
    pub fn of(mut run: Run) -> Self {
        let numbers = numbers(&run);
        // An incarnation whose events were all lost affects only the numbers of later incarnations.
        run.lives.retain(|life| !life.events.is_empty());
        let Some(header) = run.lives.first().map(|life| life.header.clone()) else {
            return Self::default();
        };
        let deliveries = deliveries(&run);
        let corrections = clocks::corrections(&run, &deliveries);
        let time = |life: usize, event| clocks::time(&run, life, event) + corrections[life];
        // The first event of each incarnation is its earliest.
        let began = (0..run.lives.len()).map(|life| time(life, 0)).min().unwrap_or(0);
        let times: Vec<Vec<Duration>> = (0..run.lives.len())
            .map(|life| {
                let since = |event| u64::try_from(time(life, event) - began).unwrap_or(0);
                let events = 0..run.lives[life].events.len();
                events.map(|event| Duration::from_nanos(since(event))).collect()
            })
            .collect();
        let mut history = Self {
            tasks: run.tasks(),
            replicas_to_aggregate: header.replicas_to_aggregate,
            training_steps: header.training_steps,
            began: Duration::from_nanos(u64::try_from(began).unwrap_or(0)),
            ..Self::default()
        };
        for (life, (times, correction)) in
            run.lives.into_iter().zip(times.into_iter().zip(corrections))
        {
            let number = numbers[&(life.header.task, life.header.incarnation)];
            history.push_life(number, life, correction, times);
        }
        let place = |at: EventAt| history.lives[at.life].events.start + at.event;
        let message = |it: &super::messages::Delivery| Message {
            sent: place(it.sent),
            does: it.does,
            received: place(it.received),
        };
        history.messages = deliveries.iter().map(message).collect();
        history.messages.sort_by_key(|message| message.received);
        history.find_causes();
        history
    }

    fn push_life(&mut self, number: u32, life: TracedLife, correction: i64, times: Vec<Duration>) {
        let (begin, end) = (times[0], times[times.len() - 1]);
        let start = self.events.len();
        for (told, at) in life.events.into_iter().zip(times) {
            self.events.push(TimedEvent {
                at,
                life: self.lives.len(),
                input: told.input,
                does: told.does,
                cause: None,
                is_busy: false,
            });
        }
        self.length = self.length.max(end);
        self.lives.push(Life {
            task: life.header.task,
            number,
            incarnation: life.header.incarnation,
            begin,
            end,
            events: start..self.events.len(),
            unfinished: None,
            correction,
            cut: life.cut,
        });
    }

    /// Finds the cause of each event: the event that sent the message, or the event that started
    /// the job. Results are matched with jobs in order, because the compute thread and the disk
    /// complete jobs in the order in which the jobs were started.
    fn find_causes(&mut self) {
        for life in &mut self.lives {
            let (mut jobs, mut files) = (VecDeque::new(), VecDeque::new());
            let mut calls: BTreeMap<Option<TaskId>, usize> = BTreeMap::new();
            for number in life.events.clone() {
                let peer = self.events[number].input.details.peer;
                use EventKind as E;
                let cause = match self.events[number].input.what.kind {
                    E::Computed | E::Updated => jobs.pop_front(),
                    E::Saved | E::SaveFailed | E::Read | E::ReadFailed => files.pop_front(),
                    E::Connected | E::ConnectFailed => calls.remove(&peer),
                    _ => None,
                };
                self.events[number].cause = cause;
                self.events[number].is_busy = !jobs.is_empty();
                for done in &self.events[number].does {
                    match done.what.kind {
                        E::Computes | E::Updates => jobs.push_back(number),
                        E::Saves | E::Reads => files.push_back(number),
                        E::Connects => drop(calls.insert(done.details.peer, number)),
                        _ => {}
                    }
                }
            }
            life.unfinished = jobs.pop_front();
        }
        // The cause of a received message is always the event that sent it, even if a job was
        // running.
        for message in &self.messages {
            self.events[message.received].cause = Some(message.sent);
        }
    }

    /// Returns the task of an event.
    #[must_use]
    pub fn task(&self, event: usize) -> TaskId {
        self.lives[self.events[event].life].task
    }

    /// Returns the incarnations of a task, in order.
    pub fn lives_of(&self, task: TaskId) -> impl Iterator<Item = &Life> {
        self.lives.iter().filter(move |life| life.task == task)
    }

    /// Returns the tasks without a trace.
    pub(crate) fn untraced(&self) -> Vec<TaskId> {
        let is_missing = |task: &&TaskId| self.lives_of(**task).next().is_none();
        self.tasks.iter().filter(is_missing).copied().collect()
    }

    /// Returns all effects of a kind. Each effect comes with the index of its event.
    pub fn done(&self, kind: EventKind) -> impl Iterator<Item = (usize, &Entry)> {
        let each = self.events.iter().enumerate();
        each.flat_map(|(number, event)| event.does.iter().map(move |done| (number, done)))
            .filter(move |(_, done)| done.what.kind == kind)
    }
}

/// Returns the position of each incarnation among the incarnations of its task, counted from 1.
fn numbers(run: &Run) -> BTreeMap<(TaskId, Incarnation), u32> {
    let mut n_lives: BTreeMap<TaskId, u32> = BTreeMap::new();
    let number = |life: &TracedLife| {
        let n_lives = n_lives.entry(life.header.task).or_default();
        *n_lives += 1;
        ((life.header.task, life.header.incarnation), *n_lives)
    };
    run.lives.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, ms};
    use super::*;

    #[test]
    fn fast_clock_is_corrected_so_that_messages_arrive_after_they_were_sent() {
        let mut script = Script::two_steps();
        script.0.lives[2].header.origin = ms(50);
        let history = script.history();
        // Without the wrong clock, messages from the third incarnation take at least 1 ms, and
        // messages to it at least 0 ms. The allowed corrections are from -50 to -49 ms, and the
        // middle is taken.
        let corrections: Vec<_> = history.lives.iter().map(|life| life.correction).collect();
        assert_eq!(corrections, [0, 0, -49_500_000]);
        for message in &history.messages {
            assert!(history.events[message.sent].at <= history.events[message.received].at);
        }
        assert_eq!(history.messages.len(), Script::two_steps().history().messages.len());
    }

    #[test]
    fn consistent_clocks_are_not_corrected() {
        let mut script = Script::two_steps();
        script.0.lives.iter_mut().for_each(|life| life.header.origin = ms(5000));
        let history = script.history();
        assert!(history.lives.iter().all(|life| life.correction == 0));
        assert_eq!((history.began, history.length), (ms(5000), ms(101)));
    }

    #[test]
    fn incarnation_without_events_is_only_counted() {
        let mut script = Script::with_a_restart();
        script.0.lives[2].events.clear();
        let history = script.history();
        let numbers: Vec<_> = history.lives.iter().map(|life| (life.task, life.number)).collect();
        let (fast, slow) = (TaskId::worker(0), TaskId::worker(1));
        assert_eq!(numbers, [(TaskId::ps(0), 1), (fast, 1), (slow, 2)]);
    }
}
