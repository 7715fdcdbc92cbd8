//! The participants as pure state machines. They decide everything, and touch nothing:
//! no I/O, no clock, no thread, no entropy, no arithmetic on tensors.
//!
//! A node is fed [`Input`]s and answers with [`Effect`]s, whose order is the write-ahead rule.
//! `docs/protocol.md` numbers the rules that code here cites.

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
    /// Takes one input, at `now`, and appends what is to be done about it to `out`, in order.
    fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Effect>);

    /// When it wants an [`Input::Wake`], if nothing else comes before.
    fn deadline(&self) -> Option<Moment>;

    /// Where it stands, for a person.
    fn status(&self, now: Moment) -> Status;

    /// Where it stands, for who counts. Calls `of` with each task that it waits for, in order.
    /// Asks for no memory, so that it may be asked for at every event.
    fn standing(&self, of: &mut dyn FnMut(TaskId)) -> Standing;
}

impl<N: Node + ?Sized> Node for Box<N> {
    fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Effect>) {
        (**self).handle(now, input, out);
    }

    fn deadline(&self) -> Option<Moment> {
        (**self).deadline()
    }

    fn status(&self, now: Moment) -> Status {
        (**self).status(now)
    }

    fn standing(&self, of: &mut dyn FnMut(TaskId)) -> Standing {
        (**self).standing(of)
    }
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its version.
    pub at: String,
    /// What it does or waits for, until it halts.
    pub does: String,
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Its first input.
    Start,
    /// Something happened on the network.
    Network(NetworkEvent),
    /// A job is done.
    Computed(Done),
    /// The storage did what it was asked, or could not.
    Stored(StorageEvent),
    /// The deadline has come.
    Wake,
    /// A person or an engine wants this task to end.
    Stop,
}

/// What a network tells its node.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkEvent {
    /// [`Effect::Connect`] succeeded.
    Connected {
        /// The new link.
        link: LinkId,
        /// The task that was called.
        to: TaskId,
    },
    /// [`Effect::Connect`] failed.
    ConnectFailed {
        /// The task that was called.
        to: TaskId,
        /// Why, for a person.
        why: String,
    },
    /// Somebody connected.
    Accepted {
        /// The new link.
        link: LinkId,
    },
    /// A message came, whole and undamaged.
    Received {
        /// The link it came on.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Bytes of a long message are coming in: its sender lives.
    Progress {
        /// The link they come on.
        link: LinkId,
    },
    /// The link is gone: closed or reset by the other end, or its bytes were damaged.
    /// Never told of links that the node itself closed.
    Closed {
        /// The link.
        link: LinkId,
        /// Why, for a person.
        why: String,
    },
}

/// A computation, done elsewhere: what a simulator may make slow.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// The loss and gradient of batch(seed, slot, step) at a whole version.
    Gradient {
        /// The version.
        cut: Cut,
        /// Which unit of work.
        slot: Slot,
        /// The version's parameters, one buffer a shard.
        parameters: Vec<Floats>,
    },
    /// The next version of one shard.
    Update {
        /// The version of `state`; the update makes the next one.
        cut: Cut,
        /// The shard's state at this version.
        state: ShardState,
        /// Exactly `replicas_to_aggregate` gradients, ascending by slot.
        gradients: Vec<(Slot, Floats)>,
    },
}

/// A [`Job`]'s result.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// Of [`Job::Gradient`].
    Gradient {
        /// As in the job.
        cut: Cut,
        /// As in the job.
        slot: Slot,
        /// The loss of the batch.
        loss: f32,
        /// The gradient, one buffer a shard.
        gradient: Vec<Floats>,
    },
    /// Of [`Job::Update`].
    Update {
        /// As in the job; the new state is of the version after it.
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
    /// One state a shard.
    pub shards: Vec<ShardState>,
}

/// Where a run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The state.
    pub snapshot: Arc<Snapshot>,
    /// The checkpoint that holds it; `None` for initial values.
    pub from: Option<String>,
}

/// What a storage tells its node.
#[derive(Clone, Debug, PartialEq)]
pub enum StorageEvent {
    /// Of [`Effect::Restore`]: the newest valid checkpoint, or the initial values.
    Restored(Result<Restored, String>),
    /// Of [`Effect::Persist`]: the checkpoint of this step is durable, or why it is not.
    Persisted {
        /// The checkpoint's step.
        step: Step,
        /// Where it is, or why it could not be written.
        result: Result<String, String>,
    },
    /// Of [`Effect::Record`]: the update was made before, and was another then.
    NotRepeated(NotRepeated),
}

/// What a node wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Connect to a task; answered with `Connected` or `ConnectFailed`.
    Connect {
        /// The task to call.
        to: TaskId,
    },
    /// Send a message; lost, without a word, if the link is gone.
    Send {
        /// The link to send on.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// Close a link, after what was sent on it before has gone out.
    Close {
        /// The link.
        link: LinkId,
    },
    /// Start a computation; answered with [`Input::Computed`].
    Compute(Job),
    /// Read the newest valid checkpoint, or else the initial values.
    Restore,
    /// Write a checkpoint; answered when it is durable.
    Persist(Arc<Snapshot>),
    /// Append an update to the losses; rows of its step or later, from a life before, go.
    Record(UpdateRecord),
    /// Tell whoever looks.
    Report(Report),
    /// The node is done, and takes no more inputs. What was sent before goes out first.
    Halt(Outcome),
}

/// How a node ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Rule 10: all updates made, and the final checkpoint durable.
    Finished,
    /// Asked to stop, and did; `saved` is the step of the checkpoint it wrote on leaving, if any.
    Stopped {
        /// The step of the checkpoint that was written on leaving.
        saved: Option<Step>,
    },
    /// It could not go on.
    Failed(Failure),
    /// Rule 8: it was refused as older than another life of its task, before it had joined the run.
    /// Its host may start another node with a larger incarnation ([`Raises::after`]).
    Outdated {
        /// The newest incarnation of the task that the refusing peer knows.
        exceed: Incarnation,
        /// The refusal, for a person.
        reason: String,
    },
}

/// What a node tells whoever looks. Nothing depends on it.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A session with a task is up.
    PeerUp {
        /// The task.
        peer: TaskId,
    },
    /// A session with a task ended.
    PeerDown {
        /// The task.
        peer: TaskId,
        /// Why, for a person.
        why: String,
    },
    /// Somebody who called was turned away.
    TurnedAway {
        /// Why, for a person.
        why: String,
    },
    /// Rule 9: something has not come for too long.
    Waiting {
        /// For whom and what, for a person.
        what: String,
        /// For how long.
        waited: Duration,
    },
    /// A worker computed a gradient.
    Computed {
        /// The version it is of.
        step: Step,
        /// The unit of work.
        slot: Slot,
        /// The loss of its batch.
        loss: f32,
    },
    /// A ps made a version.
    Updated {
        /// The version from which the update made the next one.
        cut: Cut,
        /// The slots it used, ascending.
        slots: Vec<Slot>,
    },
    /// A ps did not use a gradient.
    Dropped {
        /// The gradient's step.
        step: Step,
        /// The gradient's slot.
        slot: Slot,
        /// Whose it was.
        worker: TaskId,
        /// Why: as told to the worker, or `None` for a gradient that came whole but was not
        /// among the first R.
        verdict: Option<Verdict>,
    },
    /// A ps has come back without its shard, while the others trained: all go back.
    ShardLost {
        /// The ps.
        ps: TaskId,
        /// Where to: the version that the chief's worker holds whole, so that no step is lost; or
        /// why that will not do, for a person, and the newest checkpoint has to.
        live: Result<Step, &'static str>,
    },
    /// The chief took up the cluster's state.
    Adopted {
        /// The generation.
        generation: Generation,
        /// The version at which it goes on, if it is known yet.
        step: Option<Step>,
        /// `None` if it found the shards alive; otherwise it restored them, from the checkpoint
        /// named, or else from initial values.
        restored: Option<Option<String>>,
    },
    /// A checkpoint is durable.
    Saved {
        /// Its step.
        step: Step,
        /// Where it is.
        path: String,
    },
    /// A checkpoint could not be written; training goes on.
    SaveFailed {
        /// Its step.
        step: Step,
        /// Why, for a person.
        why: String,
    },
}
