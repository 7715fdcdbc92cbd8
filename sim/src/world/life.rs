//! One incarnation of a simulated task: the queues of its inputs, its deadline and its waker.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use unisono_core::protocol::{Done, NetworkEvent, StorageEvent};
use unisono_rules::LifeId;

/// The number of the input that caused an event, for traces; `None` if no input caused the event.
pub(crate) type Cause = Option<u64>;

/// The current incarnation of a task, with the inputs that its node has not taken yet.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) id: LifeId,
    pub(crate) network: VecDeque<(Cause, NetworkEvent)>,
    pub(crate) done: VecDeque<(Cause, Done)>,
    pub(crate) stored: VecDeque<(Cause, StorageEvent)>,
    pub(crate) stops: VecDeque<(Cause, ())>,
    /// The deadline of the node, in virtual time.
    alarm: Option<Duration>,
    /// The time of the earliest planned event that checks whether the node's deadline has come.
    alarm_planned: Option<Duration>,
    /// Number of active faults that pause this incarnation. Two pauses may overlap, so a flag would
    /// not suffice.
    pub(crate) n_pauses: u32,
    /// Number of effects after which a fault kills this incarnation; `None` if no fault kills it.
    pub(crate) doom: Option<usize>,
    /// The fault that kills this incarnation.
    pub(crate) doomed_by: Option<usize>,
    /// The cause of the input that the node took last.
    pub(crate) cause: Cause,
    /// The number of the input that the node took last.
    pub(crate) event: Cause,
    /// The waker of the task. The task's loop waits for all queues and for the deadline at once, so
    /// one waker suffices.
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

    /// Wakes the task, unless the task is paused. The end of a pause wakes a paused task. Returns
    /// whether the task was woken.
    pub(crate) fn wake(&mut self) -> bool {
        if self.n_pauses == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
            return true;
        }
        false
    }

    /// Takes the first input of a queue, or waits for one.
    pub(crate) fn poll<T>(
        &mut self,
        context: &Context<'_>,
        queue: impl FnOnce(&mut Self) -> &mut VecDeque<(Cause, T)>,
    ) -> Poll<T> {
        // A paused task takes no input, even if another source polls its loop.
        if self.n_pauses == 0
            && let Some((cause, item)) = queue(self).pop_front()
        {
            self.cause = cause;
            return Poll::Ready(item);
        }
        self.wait(context);
        Poll::Pending
    }

    /// Waits until virtual time `at`. Also returns the time for which the caller must plan an event
    /// that calls [`Life::on_alarm`], or `None` if an early enough event is planned already.
    pub(crate) fn poll_alarm(
        &mut self,
        context: &Context<'_>,
        now: Duration,
        at: Duration,
    ) -> (Poll<()>, Option<Duration>) {
        if at <= now && self.n_pauses == 0 {
            self.alarm = None;
            // A deadline has no cause. Without this line, the last input would appear as its cause.
            self.cause = None;
            return (Poll::Ready(()), None);
        }
        self.alarm = Some(at);
        self.wait(context);
        (Poll::Pending, self.plan_alarm(now))
    }

    /// Handles the event that checks whether the node's deadline has come. Returns whether the task
    /// was woken, and the time for which the caller must plan the next check, if one is needed.
    pub(crate) fn on_alarm(&mut self, now: Duration) -> (bool, Option<Duration>) {
        let mut is_woken = false;
        // If the deadline was moved to an earlier time, a check of the old deadline is still
        // planned. That check finds nothing to do.
        if self.alarm_planned.is_some_and(|planned| planned <= now) {
            self.alarm_planned = None;
        }
        if self.alarm.is_some_and(|alarm| alarm <= now) {
            self.alarm = None;
            is_woken = self.wake();
        }
        (is_woken, self.plan_alarm(now))
    }

    /// Returns the time for which the caller must plan an event that checks the node's deadline, or
    /// `None` if an early enough event is planned already. A node moves its deadline with almost
    /// every input, mostly to a later time, so one event for each deadline would fill the agenda.
    /// Instead, the handler of the earliest planned event plans the next event.
    fn plan_alarm(&mut self, now: Duration) -> Option<Duration> {
        let alarm = self.alarm?.max(now);
        if self.alarm_planned.is_some_and(|planned| planned <= alarm) {
            return None;
        }
        self.alarm_planned = Some(alarm);
        Some(alarm)
    }

    fn wait(&mut self, context: &Context<'_>) {
        // The waker is cloned only if it has changed, because `wait` runs several times for each
        // input.
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }
}
