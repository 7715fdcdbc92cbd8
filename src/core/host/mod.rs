//! What a host provides, and the one loop that runs a node on it.
//!
//! Production implements the traits in `unisono_net::tcp`, the simulator in `sim/`; the loop is the same.

#[cfg(any(test, fuzzing, feature = "testing"))]
#[doc(hidden)]
#[path = "../../../tests/unit/host_contract.rs"]
pub mod contract;
mod drive;
pub mod limits;
mod observer;
mod peers;

use std::future::Future;
use std::sync::Arc;

pub use drive::drive;
pub use observer::{Observer, Turn};
pub use peers::{Peer, Peers};

use crate::ids::{LinkId, TaskId};
use crate::protocol::{Done, Job, Message, NetworkEvent, Snapshot, StorageEvent, UpdateRecord};
use crate::time::Moment;

/// All that a node runs on.
#[derive(Debug)]
pub struct Host<C, N, K, S, T> {
    /// Tells the time.
    pub clock: C,
    /// Reaches the other tasks.
    pub network: N,
    /// Does the arithmetic.
    pub compute: K,
    /// Keeps the files.
    pub storage: S,
    /// Says when to end early.
    pub stop: T,
}

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

/// What does the jobs.
pub trait Work: Send {
    /// Does one.
    fn work(&mut self, job: Job) -> Done;

    /// Called when the last result is on its way, and there may be time before the next job.
    fn look_ahead(&mut self) {}
}

impl<F: FnMut(Job) -> Done + Send> Work for F {
    fn work(&mut self, job: Job) -> Done {
        self(job)
    }
}

/// Durable files: checkpoints and losses.
///
/// What is asked is done in the order in which it was asked: a restore after a persist finds it.
pub trait Storage {
    /// Starts reading the newest valid checkpoint, or else the initial values.
    fn restore(&mut self);

    /// Starts writing a checkpoint. What was recorded before is durable before it is visible.
    fn persist(&mut self, snapshot: Arc<Snapshot>);

    /// Appends an update to the losses, in order.
    fn record(&mut self, update: UpdateRecord);

    /// The next event. Cancel-safe: an event is never lost.
    fn next(&mut self) -> impl Future<Output = StorageEvent>;
}

/// A storage for tasks that keep no files: all but the chief. It is never asked for anything.
#[derive(Clone, Copy, Debug)]
pub struct NoStorage;

impl Storage for NoStorage {
    fn restore(&mut self) {}

    fn persist(&mut self, _snapshot: Arc<Snapshot>) {}

    fn record(&mut self, _update: UpdateRecord) {}

    async fn next(&mut self) -> StorageEvent {
        std::future::pending().await
    }
}

/// A source of stop requests: signals, the parent process, a test.
pub trait Stop {
    /// Returns once for each request. Cancel-safe: a request is never lost.
    fn next(&mut self) -> impl Future<Output = ()>;
}

/// A source without stop requests.
#[derive(Clone, Copy, Debug)]
pub struct NeverStops;

impl Stop for NeverStops {
    async fn next(&mut self) {
        std::future::pending().await
    }
}
