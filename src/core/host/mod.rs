//! The traits that a host implements, and the loop that runs a node on a host.
//!
//! `unisono_net::tcp` implements the traits for production, and `sim/` for the simulator. Both
//! hosts use the same loop.

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

/// The parts of a host on which a node runs.
#[derive(Debug)]
pub struct Host<C, N, K, S, T> {
    /// The source of the time.
    pub clock: C,
    /// The links to the other tasks.
    pub network: N,
    /// The computations of gradients and updates.
    pub compute: K,
    /// The checkpoints and the losses file.
    pub storage: S,
    /// The source of stop requests.
    pub stop: T,
}

/// A clock whose moments a caller can wait for.
pub trait Clock {
    /// Returns the current time. The time never decreases from one call to the next.
    fn now(&self) -> Moment;

    /// Returns once the time `moment` has come, and never earlier.
    fn sleep_until(&self, moment: Moment) -> impl Future<Output = ()>;
}

/// Links to other tasks. A link delivers whole messages in order until it is closed or lost.
///
/// Only [`Self::next`] and [`Self::flush`] wait. The other methods return at once, and
/// [`Self::next`] reports their results as events.
pub trait Network {
    /// Starts connecting to a task.
    fn connect(&mut self, to: TaskId);

    /// Queues a message. Drops the message if the link is closed or lost.
    fn send(&mut self, link: LinkId, message: Message);

    /// Closes a link after its queued messages have been sent. After this call, [`Self::next`]
    /// returns no event of the link.
    fn close(&mut self, link: LinkId);

    /// Waits for the next event. The future is cancel-safe: if it is dropped, no event is lost.
    fn next(&mut self) -> impl Future<Output = NetworkEvent>;

    /// Sends all queued messages within a time limit of the host, and then closes every link.
    fn flush(&mut self) -> impl Future<Output = ()>;
}

/// A queue of jobs that compute gradients and updates.
pub trait Compute {
    /// Starts a job. Jobs are finished in the order in which they were started.
    fn start(&mut self, job: Job);

    /// Waits for the next result. The future is cancel-safe: if it is dropped, no result is lost.
    fn next(&mut self) -> impl Future<Output = Done>;
}

/// The code that executes jobs, on a thread that the host chooses.
pub trait Work: Send {
    /// Does one job.
    fn work(&mut self, job: Job) -> Done;

    /// Prepares data for later jobs. The host calls this method while no job waits, after the host
    /// has delivered the result of the last job.
    fn look_ahead(&mut self) {}
}

impl<F: FnMut(Job) -> Done + Send> Work for F {
    fn work(&mut self, job: Job) -> Done {
        self(job)
    }
}

/// The durable files of a run: checkpoints and the losses file.
///
/// Requests are carried out in order, so a [`Self::restore`] after a [`Self::persist`] finds the
/// persisted checkpoint.
pub trait Storage {
    /// Starts reading the newest valid checkpoint. If there is no checkpoint, the answer contains
    /// the initial values.
    fn restore(&mut self);

    /// Starts writing a checkpoint. All updates recorded before this call become durable before the
    /// checkpoint becomes visible.
    fn persist(&mut self, snapshot: Arc<Snapshot>);

    /// Appends an update to the losses, in order.
    fn record(&mut self, update: UpdateRecord);

    /// Waits for the next event. The future is cancel-safe: if it is dropped, no event is lost.
    fn next(&mut self) -> impl Future<Output = StorageEvent>;
}

/// The storage of every task except the chief. This storage keeps no files and never answers,
/// because a node that is not the chief sends no requests to its storage.
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
    /// Waits for the next request, and returns once for each request. The future is cancel-safe: if
    /// it is dropped, no request is lost.
    fn next(&mut self) -> impl Future<Output = ()>;
}

/// A source that never requests a stop.
#[derive(Clone, Copy, Debug)]
pub struct NeverStops;

impl Stop for NeverStops {
    async fn next(&mut self) {
        std::future::pending().await
    }
}
