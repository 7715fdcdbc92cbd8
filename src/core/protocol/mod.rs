//! The participants of the protocol as pure state machines, which make every decision. The state
//! machines use no I/O, no clock, no threads, no randomness and no arithmetic on tensors.
//!
//! A host gives [`Input`]s to a node. The node returns [`Effect`]s, which the host carries out in
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
    /// Handles one input at the time `now`. Appends the effects to `out`, in the order in which the
    /// host must carry them out.
    fn handle(&mut self, now: Moment, input: &Input, out: &mut Vec<Effect>);

    /// Returns the time at which the node needs an [`Input::Wake`] if no other input comes earlier.
    fn deadline(&self) -> Option<Moment>;

    /// Returns the node's version and current activity as text, for the user.
    fn status(&self, now: Moment) -> Status;

    /// Returns the node's version and current wait as plain values, for metrics. Calls
    /// `each_awaited` with each task that the node waits for, in order.
    ///
    /// A host may call this method at every event, because it allocates nothing.
    fn standing(&self, each_awaited: &mut dyn FnMut(TaskId)) -> Standing;
}

/// A node's version and activity as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The version of the node, in words.
    pub at: String,
    /// The current computation or wait of the node, in words.
    pub does: String,
}

/// An event that a host gives to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The first input of every node, given once.
    Start,
    /// An event of the network.
    Network(NetworkEvent),
    /// The result of a computation that an [`Effect::Compute`] started.
    Computed(Done),
    /// An answer of the storage, such as the restored state.
    Stored(StorageEvent),
    /// The time that [`Node::deadline`] returned has come.
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
    /// A whole, undamaged message arrived.
    Received {
        /// The link on which the message arrived.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Some bytes of a long message arrived, which shows that the sender is alive.
    Progress {
        /// The link on which the bytes arrived.
        link: LinkId,
    },
    /// A link was lost: the peer closed or reset the link, or the received bytes were damaged. A
    /// link that the node itself closes causes no such event.
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
    /// The computation of the loss and the gradient of one batch. The seed, the slot and the step
    /// determine the batch. The computation needs the same version of every shard.
    Gradient {
        /// The version of the parameters.
        cut: Cut,
        /// The slot of the batch.
        slot: Slot,
        /// The parameters of the version, one buffer per shard.
        parameters: Vec<Floats>,
    },
    /// The computation of a shard's next version.
    Update {
        /// The generation and the version of `state`, from which the update makes the next version.
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
        /// The version from which the gradient was computed.
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
        /// The version from which the update started. `state` is the state of the next version.
        cut: Cut,
        /// The shard's state at the next version.
        state: ShardState,
    },
}

/// The state of the whole cluster at one version (rule 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The generation and the version of the state.
    pub cut: Cut,
    /// The state of each shard, in the order of the ps.
    pub shards: Vec<ShardState>,
}

/// The state from which a run starts or continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The state.
    pub snapshot: Arc<Snapshot>,
    /// The path of the checkpoint from which the state was read, or `None` for initial values.
    pub from: Option<String>,
}

/// An answer of the storage.
#[derive(Clone, Debug, PartialEq)]
pub enum StorageEvent {
    /// The answer to [`Effect::Restore`]: the state of the newest valid checkpoint, the initial
    /// values, or the reason why the storage can provide neither.
    Restored(Result<Restored, String>),
    /// The answer to [`Effect::Persist`].
    Persisted {
        /// The checkpoint's step.
        step: Step,
        /// The path of the durable checkpoint, or the reason why the write failed.
        result: Result<String, String>,
    },
    /// The answer to an [`Effect::Record`] whose update was recomputed with losses that differ from
    /// the first computation. Any other [`Effect::Record`] has no answer.
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
    /// Send a message. If the link is lost, the message is dropped without an answer.
    Send {
        /// The link to send on.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Close a link after all messages that the node has already sent on the link have been
    /// transmitted.
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
    /// Append an update to the losses file. Existing rows of this step and of later steps date from
    /// before a rollback, and are removed first.
    Record(UpdateRecord),
    /// Pass a report to the host's observers.
    Report(Report),
    /// End the node. The host still transmits the messages that the node sent earlier. The node
    /// gets no further inputs.
    Halt(Outcome),
}

/// The end of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All updates are made, and the final checkpoint is durable (rule 10).
    Finished,
    /// A stop was requested, and the node stopped.
    Stopped {
        /// The step of the checkpoint that was saved for the stop, or `None` without such a
        /// checkpoint.
        saved: Option<Step>,
    },
    /// The node could not continue.
    Failed(Failure),
    /// A peer refused the node because the peer knows a newer incarnation of the node's task. The
    /// node had not joined the run (rule 8), so the host may start another node with a larger
    /// incarnation ([`Raises::after`]).
    Outdated {
        /// The newest incarnation of the task that the peer knows, which the next node must exceed.
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
    /// This task refused a peer: a wrong caller, or a called task with an older incarnation.
    TurnedAway {
        /// The reason, for the user.
        why: String,
    },
    /// The node has waited for `report_after`, or for twice as long as at the last report (rule 9).
    Waiting {
        /// The awaited message or event, and the tasks that must provide it, as text.
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
        /// The generation and the version from which the update started.
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
        /// The verdict that the worker received, or `None` for a gradient of the current version
        /// whose slot the update does not use.
        verdict: Option<Verdict>,
    },
    /// A ps that lost its shard has reconnected while the cluster was training. All tasks go back
    /// to an earlier version.
    ShardLost {
        /// The ps.
        ps: TaskId,
        /// The version from which all tasks continue, if worker 0 holds that version of every
        /// shard. Otherwise the reason why all tasks continue from the newest checkpoint.
        live: Result<Step, &'static str>,
    },
    /// The chief knows the state of the cluster: the chief has adopted the live state of the ps, or
    /// has restored a state.
    Adopted {
        /// The generation of the state.
        generation: Generation,
        /// The version of the state, or `None` if the chief does not know the version yet.
        step: Option<Step>,
        /// `None` if the chief adopted the live state of the ps. `Some` if the chief restored a
        /// state: `Some(Some(path))` with the path of the checkpoint, or `Some(None)` for initial
        /// values.
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
