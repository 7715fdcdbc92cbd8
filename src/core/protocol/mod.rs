//! The protocol's participants as pure state machines. They make every decision, and have no I/O,
//! no clock, no thread, no randomness and no arithmetic on tensors.
//!
//! A host gives a node [`Input`]s and carries out the [`Effect`]s that the node returns, in their
//! order. `docs/protocol.md` states the numbered rules that comments here cite.

pub mod config;
pub mod failure;
mod incarnation;
mod links;
pub mod message;
pub mod ps;
pub mod settings;
mod standing;
mod wait_timer;
mod window;
pub mod worker;

use crate::Cut;
use std::sync::Arc;
use std::time::Duration;

pub use config::{ClusterConfig, Limits};
pub use failure::{Failure, GaveUp, NotRepeated};
pub use incarnation::Raises;
pub use message::{
    Hello, Message, NewerIncarnation, PROTOCOL_VERSION, Recorded, ShardState, UpdateRecord,
    Verdict, Want,
};
pub use ps::Ps;
pub use settings::{Difference, Settings};
pub use standing::{Standing, Wait, WaitFor};
pub use window::PUSH_WINDOW;
pub use worker::Worker;

use crate::floats::Floats;
use crate::ids::{Generation, Incarnation, LinkId, Slot, Step, TaskId};
use crate::time::Moment;

/// A participant of the protocol.
pub trait Node {
    /// Handles one input at the time `now`, and appends the effects to `out`, in order.
    fn handle(&mut self, now: Moment, input: &Input, out: &mut Vec<Effect>);

    /// Returns the moment at which the node needs an [`Input::Wake`] if no input comes before.
    fn deadline(&self) -> Option<Moment>;

    /// Returns the node's version and activity as text, for the user.
    fn status(&self, now: Moment) -> Status;

    /// Returns the node's version and current wait as plain values, for metrics. Passes each task
    /// that the node waits for to `each_awaited`, in order.
    ///
    /// A host may call this method at every event, because it allocates nothing.
    fn standing(&self, each_awaited: &mut dyn FnMut(TaskId)) -> Standing;
}

/// A node's version and activity as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The version of the node, in words.
    pub at: String,
    /// The node's computation or wait, in words.
    pub does: String,
}

/// An event that a host gives to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The first input of every node.
    Start,
    /// An event of the network.
    Network(NetworkEvent),
    /// The result of an [`Effect::Compute`].
    Computed(Done),
    /// An answer of the storage.
    Stored(StorageEvent),
    /// The arrival of [`Node::deadline`].
    Wake,
    /// A request to stop this task, from the user, a supervisor or the parent process.
    Stop,
}

/// An event of a node's network.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkEvent {
    /// An [`Effect::Connect`] succeeded.
    Connected {
        /// The new link.
        link: LinkId,
        /// The task that was called.
        to: TaskId,
    },
    /// An [`Effect::Connect`] failed.
    ConnectFailed {
        /// The task that was called.
        to: TaskId,
        /// The reason, for the user.
        why: String,
    },
    /// A caller connected to this task.
    Accepted {
        /// The new link.
        link: LinkId,
    },
    /// A whole and undamaged message arrived.
    Received {
        /// The link on which the message arrived.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Bytes of a long message arrived. They prove that the sender is alive.
    Progress {
        /// The link on which the bytes arrived.
        link: LinkId,
    },
    /// A link is lost: the other end closed or reset it, or its bytes were damaged. A link that the
    /// node itself closed causes no such event.
    Closed {
        /// The link.
        link: LinkId,
        /// The reason, for the user.
        why: String,
    },
}

/// A computation that the host runs outside the node.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// The loss and gradient of batch(seed, slot, step) at a whole version.
    Gradient {
        /// The version of the parameters.
        cut: Cut,
        /// The slot of the batch.
        slot: Slot,
        /// The version's parameters, one buffer per shard.
        parameters: Vec<Floats>,
    },
    /// The next version of one shard.
    Update {
        /// The version of `state`. The update makes the next version.
        cut: Cut,
        /// The shard's state at this version.
        state: ShardState,
        /// Exactly `replicas_to_aggregate` gradients, ascending by slot.
        gradients: Vec<(Slot, Floats)>,
    },
}

/// The result of a [`Job`].
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// The result of a [`Job::Gradient`].
    Gradient {
        /// The version of the job.
        cut: Cut,
        /// The slot of the job.
        slot: Slot,
        /// The loss of the batch.
        loss: f32,
        /// The gradient, one buffer per shard.
        gradient: Vec<Floats>,
    },
    /// The result of a [`Job::Update`].
    Update {
        /// The version of the job. The new state is of the version after it.
        cut: Cut,
        /// The shard's state at the next version.
        state: ShardState,
    },
}

/// The state of the whole cluster at one version (rule 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The version, and the generation in which the state was taken.
    pub cut: Cut,
    /// The state of each shard, in the order of the ps.
    pub shards: Vec<ShardState>,
}

/// The state from which a run starts or continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The state.
    pub snapshot: Arc<Snapshot>,
    /// The checkpoint that the state was read from, or `None` for initial values.
    pub from: Option<String>,
}

/// An answer of the storage.
#[derive(Clone, Debug, PartialEq)]
pub enum StorageEvent {
    /// The answer to [`Effect::Restore`]: the newest valid checkpoint, the initial values, or the
    /// reason for which there is neither.
    Restored(Result<Restored, String>),
    /// The answer to [`Effect::Persist`].
    Persisted {
        /// The checkpoint's step.
        step: Step,
        /// The path of the durable checkpoint, or the reason for which it could not be written.
        result: Result<String, String>,
    },
    /// The answer to an [`Effect::Record`] whose update was recomputed and differs from the first
    /// time.
    NotRepeated(NotRepeated),
}

/// A request of a node to its host.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Connect to a task. The answer is `Connected` or `ConnectFailed`.
    Connect {
        /// The task to call.
        to: TaskId,
    },
    /// Send a message. A message to a lost link disappears without an answer.
    Send {
        /// The link to send on.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Close a link, after all earlier messages have been sent on it.
    Close {
        /// The link.
        link: LinkId,
    },
    /// Start a computation. The answer is [`Input::Computed`].
    Compute(Job),
    /// Read the newest valid checkpoint, or the initial values if there is none.
    Restore,
    /// Write a checkpoint. The answer comes when the checkpoint is durable.
    Persist(Arc<Snapshot>),
    /// Append an update to the losses file. Rows of this step or a later one are from before a
    /// rollback, and are removed.
    Record(UpdateRecord),
    /// Pass a report to the host's observers.
    Report(Report),
    /// End the node, which takes no more inputs. Earlier messages are sent first.
    Halt(Outcome),
}

/// The end of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All updates are made, and the final checkpoint is durable (rule 10).
    Finished,
    /// The node stopped because it was asked to.
    Stopped {
        /// The step of the checkpoint that was written for the stop.
        saved: Option<Step>,
    },
    /// The node could not continue.
    Failed(Failure),
    /// A peer refused the node as older than another incarnation of its task, before the node had
    /// joined the run (rule 8). The host may start another node with a larger incarnation
    /// ([`Raises::after`]).
    Outdated {
        /// The newest incarnation of the task that the refusing peer knows.
        exceed: Incarnation,
        /// The peer's reason, for the user.
        reason: String,
    },
}

/// An observation for logs, metrics and traces. No decision of the protocol depends on a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A session with a task started.
    PeerUp {
        /// The task.
        peer: TaskId,
    },
    /// A session with a task ended, or the first call to the task failed.
    PeerDown {
        /// The task.
        peer: TaskId,
        /// The reason, for the user.
        why: String,
    },
    /// This task refused a caller, or a called task that has an older incarnation.
    TurnedAway {
        /// The reason, for the user.
        why: String,
    },
    /// A wait is longer than `report_after`, or has doubled since the last report (rule 9).
    Waiting {
        /// The awaited thing and the tasks that must provide it, in words.
        what: String,
        /// The length of the wait.
        waited: Duration,
    },
    /// A worker computed a gradient.
    Computed {
        /// The version from which the gradient was computed.
        step: Step,
        /// The slot of the batch.
        slot: Slot,
        /// The loss of the batch.
        loss: f32,
    },
    /// A ps made a version.
    Updated {
        /// The version from which the update made the next one.
        cut: Cut,
        /// The slots that the update used, ascending.
        slots: Vec<Slot>,
    },
    /// A ps did not use a gradient (rule 5).
    Dropped {
        /// The gradient's step.
        step: Step,
        /// The gradient's slot.
        slot: Slot,
        /// The worker that pushed the gradient.
        worker: TaskId,
        /// The verdict that the worker received. `None` for a gradient of the current version that
        /// was not among the first R.
        verdict: Option<Verdict>,
    },
    /// A ps reconnected without its shard while the cluster was training. All tasks go back to an
    /// earlier version.
    ShardLost {
        /// The ps.
        ps: TaskId,
        /// The version that the chief's worker holds whole, from which all tasks continue. As an
        /// error, the reason for which they continue from the newest checkpoint instead.
        live: Result<Step, &'static str>,
    },
    /// The chief adopted or restored the cluster's state.
    Adopted {
        /// The generation of the state.
        generation: Generation,
        /// The version of the state, or `None` if the chief does not know it yet.
        step: Option<Step>,
        /// `None` if the chief adopted the live state. Otherwise the checkpoint that it restored,
        /// or `Some(None)` for initial values.
        restored: Option<Option<String>>,
    },
    /// A checkpoint is durable.
    Saved {
        /// The checkpoint's step.
        step: Step,
        /// The checkpoint's path.
        path: String,
    },
    /// A checkpoint could not be written. The training continues.
    SaveFailed {
        /// The checkpoint's step.
        step: Step,
        /// The reason, for the user.
        why: String,
    },
}
