//! All lives of a run side by side, on one clock, each event with what led to it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::clocks;
use super::entry::Entry;
use super::messages::{EventAt, deliveries};
use super::named_event::EventKind;
use super::run::Run;
use crate::trace::line::TracedLife;
use unisono_core::ids::{Incarnation, Step, TaskId};

/// A run, laid out.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All tasks of the cluster, ps before workers, whether they were traced or not.
    pub tasks: Vec<TaskId>,
    /// R.
    pub replicas_to_aggregate: u32,
    /// Updates to make.
    pub training_steps: Step,
    /// Ascending by task, and those of a task in their order.
    pub lives: Vec<Life>,
    /// Those of the first life in order, then those of the second.
    pub events: Vec<TimedEvent>,
    /// Messages that came, in the order of `events` at which they did.
    pub messages: Vec<Message>,
    /// What the wall clock said at the beginning, since 1970; nothing of a simulated run.
    pub began: Duration,
    /// Until the last event.
    pub length: Duration,
}

/// A life of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Whose.
    pub task: TaskId,
    /// The how-manieth of the task that is known, from 1.
    pub number: u32,
    /// Its number for its peers.
    pub incarnation: Incarnation,
    /// When it began.
    pub begin: Duration,
    /// Its last event that is known.
    pub end: Duration,
    /// Its events, as places in [`History::events`].
    pub events: std::ops::Range<usize>,
    /// The event at which a job was begun that was not done when it ended.
    pub unfinished: Option<usize>,
    /// What was added to its machine's wall clock, in nanoseconds, so that no message came before
    /// it was sent.
    pub correction: i64,
    /// DropReason its trace ends before it, if that was told.
    pub cut: Option<String>,
}

/// An event on the common clock.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedEvent {
    /// When, since the beginning of the run.
    pub at: Duration,
    /// Of which of [`History::lives`].
    pub life: usize,
    /// What happened to the node.
    pub input: Entry,
    /// What it did about it.
    pub does: Vec<Entry>,
    /// The event that led to it: at which the message was sent, or the job begun.
    pub cause: Option<usize>,
    /// Whether a job that was begun before was not done yet.
    pub is_busy: bool,
}

/// A message that came. Both are places in [`History::events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// At which it was sent.
    pub sent: usize,
    /// Which of the things that the sender did then.
    pub does: usize,
    /// With which it came.
    pub received: usize,
}

impl History {
    /// Of all lives of a run.
    #[must_use]
    pub fn of(mut run: Run) -> Self {
        let numbers = numbers(&run);
        // A life whose trace was lost with it only counts.
        run.lives.retain(|life| !life.events.is_empty());
        let Some(header) = run.lives.first().map(|life| life.header.clone()) else {
            return Self::default();
        };
        let deliveries = deliveries(&run);
        let corrections = clocks::corrections(&run, &deliveries);
        let time = |life: usize, event| clocks::time(&run, life, event) + corrections[life];
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

    /// A message was sent; what was begun first is done first, by whoever computes and by the disk.
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
        for message in &self.messages {
            self.events[message.received].cause = Some(message.sent);
        }
    }

    /// The task that an event is of.
    #[must_use]
    pub fn task(&self, event: usize) -> TaskId {
        self.lives[self.events[event].life].task
    }

    /// The lives of a task, in their order.
    pub fn lives_of(&self, task: TaskId) -> impl Iterator<Item = &Life> {
        self.lives.iter().filter(move |life| life.task == task)
    }

    /// The tasks of which there is no trace.
    #[must_use]
    pub fn untraced(&self) -> Vec<TaskId> {
        let is_missing = |task: &&TaskId| self.lives_of(**task).next().is_none();
        self.tasks.iter().filter(is_missing).copied().collect()
    }

    /// What a node did, with the event at which it did.
    pub fn done(&self, kind: EventKind) -> impl Iterator<Item = (usize, &Entry)> {
        let each = self.events.iter().enumerate();
        each.flat_map(|(number, event)| event.does.iter().map(move |done| (number, done)))
            .filter(move |(_, done)| done.what.kind == kind)
    }
}

/// The how-manieth of its task each life is.
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
    fn a_clock_that_is_ahead_is_moved_to_where_messages_come_after_they_were_sent() {
        let mut script = Script::two_steps();
        script.0.lives[2].header.origin = ms(50);
        let history = script.history();
        // Its messages took a millisecond or more, those to it none or more: between 50 and 49.
        let corrections: Vec<_> = history.lives.iter().map(|life| life.correction).collect();
        assert_eq!(corrections, [0, 0, -49_500_000]);
        for message in &history.messages {
            assert!(history.events[message.sent].at <= history.events[message.received].at);
        }
        assert_eq!(history.messages.len(), Script::two_steps().history().messages.len());
    }

    #[test]
    fn clocks_that_could_be_right_are_believed() {
        let mut script = Script::two_steps();
        script.0.lives.iter_mut().for_each(|life| life.header.origin = ms(5000));
        let history = script.history();
        assert!(history.lives.iter().all(|life| life.correction == 0));
        assert_eq!((history.began, history.length), (ms(5000), ms(101)));
    }

    #[test]
    fn a_life_whose_events_were_lost_only_counts() {
        let mut script = Script::with_a_restart();
        script.0.lives[2].events.clear();
        let history = script.history();
        let numbers: Vec<_> = history.lives.iter().map(|life| (life.task, life.number)).collect();
        let (fast, slow) = (TaskId::worker(0), TaskId::worker(1));
        assert_eq!(numbers, [(TaskId::ps(0), 1), (fast, 1), (slow, 2)]);
    }
}
