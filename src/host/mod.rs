//! What a host provides, and the one loop that runs a node on it.
//!
//! Production implements the traits in [`crate::tcp`], the simulator in `sim/`; the loop is the same.

#[doc(hidden)]
pub mod contract;

use std::future::Future;

use crate::ids::{LinkId, TaskId};
use crate::protocol::{Done, Job, Message, NetworkEvent, Snapshot, StorageEvent, UpdateRecord};
use crate::time::Moment;

/// A clock that can be waited for.
pub trait Clock {
    /// The present moment; never earlier than one that was given before.
    fn now(&self) -> Moment;

    /// Comes back at `moment`, or soon after.
    fn sleep_until(&self, moment: Moment) -> impl Future<Output = ()>;
}

/// Links to other tasks: ordered, whole messages while a link lasts.
///
/// None of the methods waits; what happens is told by [`Self::next`].
pub trait Network {
    /// Starts connecting to a task.
    fn connect(&mut self, to: TaskId);

    /// Queues a message; drops it if the link is gone.
    fn send(&mut self, link: LinkId, message: Message);

    /// Closes a link once what was queued before has gone out. No event follows.
    fn close(&mut self, link: LinkId);

    /// The next event. Cancel-safe: an event is never lost.
    fn next(&mut self) -> impl Future<Output = NetworkEvent>;

    /// Lets everything that was queued go out, within a limit of the host's, and ends.
    fn flush(&mut self) -> impl Future<Output = ()>;
}

/// Whoever computes gradients and updates.
pub trait Compute {
    /// Starts a job. Jobs are done in the order in which they were started.
    fn start(&mut self, job: Job);

    /// The next result. Cancel-safe: a result is never lost.
    fn next(&mut self) -> impl Future<Output = Done>;
}

/// Durable files: checkpoints and losses.
pub trait Storage {
    /// Starts reading the newest valid checkpoint, or else the initial values.
    fn restore(&mut self);

    /// Starts writing a checkpoint. What was recorded before is durable before it is visible.
    fn persist(&mut self, snapshot: std::sync::Arc<Snapshot>);

    /// Appends an update to the losses, in order.
    fn record(&mut self, update: UpdateRecord);

    /// The next event. Cancel-safe: an event is never lost.
    fn next(&mut self) -> impl Future<Output = StorageEvent>;
}
