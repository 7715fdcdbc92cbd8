//! One life of a simulated task: what its host has for it, and how it is woken.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use unisono::protocol::{Done, NetworkEvent, StorageEvent};

use crate::agenda::PlanId;

/// What happened to a task, in the order in which it did.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) network: VecDeque<NetworkEvent>,
    pub(crate) done: VecDeque<Done>,
    pub(crate) stored: VecDeque<StorageEvent>,
    pub(crate) stops: VecDeque<()>,
    /// The moment for which the task sleeps, if it does.
    pub(crate) alarm: Option<PlanId>,
    /// The one loop that runs the task waits for all of these at once.
    waker: Option<Waker>,
}

impl Life {
    /// Something is there for the task.
    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits for the first of a queue.
    pub(crate) fn poll<T>(
        &mut self,
        context: &Context<'_>,
        queue: impl FnOnce(&mut Self) -> &mut VecDeque<T>,
    ) -> Poll<T> {
        match queue(self).pop_front() {
            Some(item) => Poll::Ready(item),
            None => {
                self.wait(context);
                Poll::Pending
            }
        }
    }

    pub(crate) fn wait(&mut self, context: &Context<'_>) {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }
}
