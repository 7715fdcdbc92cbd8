//! One life of a simulated task: what its host has for it, how it is woken, and how it dies.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use unisono_core::protocol::{Done, NetworkEvent, StorageEvent};
use unisono_core::{Incarnation, TaskId};

/// A life of a task: one node, from its start until it halts or is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LifeId {
    /// The task.
    pub task: TaskId,
    /// The number of the life among those of the task, from 1.
    pub number: u64,
    /// The incarnation that the node has. A clock that is set back makes it smaller than that of
    /// an earlier life, so that it does not identify a life.
    pub incarnation: Incarnation,
}

impl std::fmt::Display for LifeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            1 => write!(f, "{}", self.task),
            life => write!(f, "{} (life {life})", self.task),
        }
    }
}

/// The number of the event that led to something; for traces.
pub(crate) type Cause = Option<u64>;

/// What happened to a task, in the order in which it did.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) id: LifeId,
    pub(crate) network: VecDeque<(Cause, NetworkEvent)>,
    pub(crate) done: VecDeque<(Cause, Done)>,
    pub(crate) stored: VecDeque<(Cause, StorageEvent)>,
    pub(crate) stops: VecDeque<(Cause, ())>,
    /// Until when its clock lets it sleep, in the universe's time.
    alarm: Option<Duration>,
    /// The earliest moment for which a look at the alarm is planned.
    alarm_planned: Option<Duration>,
    /// Faults that keep it standing still.
    pub(crate) n_pauses: u32,
    /// It dies when it has done so many more things.
    pub(crate) doom: Option<usize>,
    /// The fault that kills it.
    pub(crate) doomed_by: Option<usize>,
    /// What led to the input that it takes, or took last.
    pub(crate) cause: Cause,
    /// The number of that input.
    pub(crate) event: Cause,
    /// The one loop that runs the task waits for all of these at once.
    waker: Option<Waker>,
}

impl Life {
    pub(crate) const fn new(id: LifeId) -> Self {
        Self {
            id,
            network: VecDeque::new(),
            done: VecDeque::new(),
            stored: VecDeque::new(),
            stops: VecDeque::new(),
            alarm: None,
            alarm_planned: None,
            n_pauses: 0,
            doom: None,
            doomed_by: None,
            cause: None,
            event: None,
            waker: None,
        }
    }

    /// Something is there for the task. One that stands still hears of it later.
    /// Says whether it hears of it now.
    pub(crate) fn wake(&mut self) -> bool {
        if self.n_pauses == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
            return true;
        }
        false
    }

    /// Waits for the first of a queue.
    pub(crate) fn poll<T>(
        &mut self,
        context: &Context<'_>,
        queue: impl FnOnce(&mut Self) -> &mut VecDeque<(Cause, T)>,
    ) -> Poll<T> {
        if self.n_pauses == 0
            && let Some((cause, item)) = queue(self).pop_front()
        {
            self.cause = cause;
            return Poll::Ready(item);
        }
        self.wait(context);
        Poll::Pending
    }

    /// Waits until the universe's time is `at`. Says when to look, if that is not planned yet.
    pub(crate) fn poll_alarm(
        &mut self,
        context: &Context<'_>,
        now: Duration,
        at: Duration,
    ) -> (Poll<()>, Option<Duration>) {
        if at <= now && self.n_pauses == 0 {
            self.alarm = None;
            self.cause = None;
            return (Poll::Ready(()), None);
        }
        self.alarm = Some(at);
        self.wait(context);
        (Poll::Pending, self.plan_alarm(now))
    }

    /// The time of a planned look at the alarm has come: wakes, or says when to look again.
    pub(crate) fn on_alarm(&mut self, now: Duration) -> (bool, Option<Duration>) {
        let mut is_woken = false;
        if self.alarm_planned.is_some_and(|planned| planned <= now) {
            self.alarm_planned = None;
        }
        if self.alarm.is_some_and(|alarm| alarm <= now) {
            self.alarm = None;
            is_woken = self.wake();
        }
        (is_woken, self.plan_alarm(now))
    }

    /// A deadline mostly moves later: the look that is planned for the earlier one then moves on.
    fn plan_alarm(&mut self, now: Duration) -> Option<Duration> {
        let alarm = self.alarm?.max(now);
        if self.alarm_planned.is_some_and(|planned| planned <= alarm) {
            return None;
        }
        self.alarm_planned = Some(alarm);
        Some(alarm)
    }

    fn wait(&mut self, context: &Context<'_>) {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }
}
