//! The messages between tasks. `docs/protocol.md` states which task sends each message, and when.
//!
//! Tensors are ordinary fields here. The module `wire` encodes them.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::floats::Floats;
use crate::ids::{Cut, Generation, Incarnation, Slot, Step, TaskId};
use crate::protocol::failure::Failure;
use crate::protocol::settings::Settings;

/// The version of the messages and their encoding. Tasks of different versions refuse each other.
pub const PROTOCOL_VERSION: u32 = 2;

/// One shard's state at one version: everything that an update reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardState {
    /// The shard's parameters as one flat buffer, in the order of the shard's layout.
    #[serde(skip)]
    pub parameters: Floats,
    /// The buffers of the optimizer and of the moving average, in the order that the update rule
    /// documents. Each is as long as the parameters. Plain gradient descent has no such buffers.
    #[serde(skip)]
    pub auxiliary: Vec<Floats>,
    /// The elements that the L2 term covers, as ascending ranges. A ps does not know the model, so
    /// the ranges are sent together with the state.
    pub regularized: Vec<Range<usize>>,
}

/// The slots and losses of one update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRecord {
    /// The update's cut. The update made version `step + 1` from version `step` of this generation.
    pub cut: Cut,
    /// Exactly `replicas_to_aggregate` slots, ascending, each with the loss of its batch.
    pub losses: Vec<(Slot, f32)>,
}

/// The state of the chief's losses file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The first step that is not in the file. Ps 0 need not send the chief any update below it.
    pub written: Step,
    /// The first step that the file may lose if the chief's machine loses power. Ps 0 need not keep
    /// any update below it.
    pub durable: Step,
}

/// The first message on every link. The end that connected sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The calling task.
    pub from: TaskId,
    /// The incarnation of the calling task.
    pub incarnation: Incarnation,
    /// The task that the caller expects at this address. If the host lists of two tasks have
    /// different orders, this field shows it.
    pub to: TaskId,
    /// Every setting of the caller that influences the computed numbers.
    pub settings: Settings,
    /// The digest of a worker's training data, or `None` from a ps.
    pub data: Option<String>,
}

/// The newest incarnation of a task that a peer knows. The peer names it when it refuses an older
/// incarnation of that task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewerIncarnation {
    /// The incarnation that the refused task must exceed.
    pub incarnation: Incarnation,
    /// Whether the peer has a session with the newer incarnation, which may then be alive.
    pub is_connected: bool,
}

/// The reason for which a ps did not accept a gradient as new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// A gradient for the same slot and version with the same bits was accepted before. The copy
    /// was ignored (rule 4).
    Duplicate,
    /// The gradient was computed from an older version than the shard's. It was counted and dropped
    /// (rule 5).
    Stale,
    /// The gradient is of another generation than the shard's state, or the shard has no state. It
    /// was counted and dropped (rule 8).
    Fenced,
}

/// The version that a worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// The first version at this cut or a newer one.
    AtLeast(Cut),
    /// The version of this cut, if it is the shard's current or previous version. Otherwise like
    /// `AtLeast`.
    Exactly(Cut),
}

impl Want {
    /// Returns the oldest cut that the worker can use.
    #[must_use]
    pub const fn cut(self) -> Cut {
        match self {
            Self::AtLeast(cut) | Self::Exactly(cut) => cut,
        }
    }
}

/// A message between two tasks.
//
// A frame encodes the kind of its message as the position in this list. A new kind is appended at
// the end, so that a program of an older version can still decode a `Refused` with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Opens a session.
    Hello(Hello),
    /// Accepts a session.
    Welcome {
        /// The incarnation of the task that was called.
        incarnation: Incarnation,
        /// The cut of the called ps's shard, or `None` while the ps has no state.
        state: Option<Cut>,
    },
    /// Refuses a session. A called task sends it instead of `Welcome`. A caller sends it after it
    /// got a `Welcome` from an older incarnation. The sender then closes the link.
    Refused {
        /// One line for the user who started the refused task: the problem and the remedy.
        reason: String,
        /// The newer incarnation, if the receiver is refused because it has an older one (rule 8).
        older_than: Option<NewerIncarnation>,
    },
    /// Shows that the sender is alive. Sent if the sender has sent nothing else for
    /// `heartbeat_interval`.
    Heartbeat,

    /// Worker to ps: asks for a version.
    Pull {
        /// The version that the worker can use.
        want: Want,
        /// From the chief: the state of the losses file.
        recorded: Recorded,
    },
    /// Worker to ps: the shard's part of a gradient. A push also asks for the next version.
    Push {
        /// The version that the gradient was computed from.
        cut: Cut,
        /// The slot of the gradient's batch.
        slot: Slot,
        /// The loss of the batch.
        loss: f32,
        /// From the chief: the state of the losses file.
        recorded: Recorded,
        /// The gradient of the shard's parameters as one flat buffer, in the order of the shard's
        /// layout.
        #[serde(skip)]
        gradient: Floats,
    },
    /// Ps to worker: a push was not accepted as a new gradient.
    PushReply {
        /// The cut of the push.
        cut: Cut,
        /// The slot of the push.
        slot: Slot,
        /// The reason.
        verdict: Verdict,
    },
    /// Ps to worker: one shard's version.
    Version {
        /// The version and its generation.
        cut: Cut,
        /// From ps 0: the slots that the worker may compute in this step, ascending.
        tokens: Vec<Slot>,
        /// The worker's slots whose gradients the shard already holds.
        received: Vec<Slot>,
        /// From ps 0 to the chief: the updates that the chief has not written yet, ascending.
        updates: Vec<UpdateRecord>,
        /// The number of pushes on this link that the ps has processed, as in
        /// [`Message::Acknowledged`].
        acknowledged: u64,
        /// The shard's parameters as one flat buffer, in the order of the shard's layout.
        #[serde(skip)]
        parameters: Floats,
    },

    /// Ps i to ps 0, when R < N: slots of this step whose gradients shard i holds.
    Received {
        /// The version that the gradients were computed from.
        cut: Cut,
        /// The slots.
        slots: Vec<Slot>,
    },
    /// Ps 0 to ps i, when R < N: the slots that the update uses.
    Chosen {
        /// The version that the update starts from.
        cut: Cut,
        /// Exactly `replicas_to_aggregate` slots, ascending.
        slots: Vec<Slot>,
    },

    /// Chief to ps: replace the shard's state by this one, and start a new generation.
    Restore {
        /// The version of the state, in the new generation.
        cut: Cut,
        /// The shard's whole state.
        state: ShardState,
    },
    /// Ps to chief: the shard has the restored state of this generation.
    Restored {
        /// The generation of the [`Message::Restore`].
        generation: Generation,
    },
    /// Chief to ps: send the shard's state at exactly this version.
    Capture {
        /// The version to capture, which is the same on every shard.
        cut: Cut,
    },
    /// Ps to chief: the captured state.
    Captured {
        /// The version of the state.
        cut: Cut,
        /// The shard's whole state.
        state: ShardState,
    },
    /// Ps to chief: the shard cannot be captured, because it already has a later version.
    Missed {
        /// The version of the [`Message::Capture`].
        cut: Cut,
        /// The present version of the shard.
        current: Step,
    },

    /// Chief to ps, and ps to workers: the final checkpoint is durable, so the task may end. A ps
    /// also answers the chief with this message.
    Finished {
        /// The generation in which the run ended.
        generation: Generation,
    },
    /// Worker to ps: the worker knows that the run has ended, and leaves.
    Goodbye,
    /// Any task to its peers: the run cannot continue.
    Abort(Failure),

    /// Ps to worker: the number of pushes on this link that the ps has processed. The worker need
    /// not keep these pushes. A version also acknowledges pushes, so this message is sent only if
    /// no version is due.
    Acknowledged {
        /// The number of pushes on this link that the ps has processed.
        pushes: u64,
    },
}

impl Message {
    /// Returns the message's kind, for traces and errors.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Welcome { .. } => "welcome",
            Self::Refused { .. } => "refused",
            Self::Heartbeat => "heartbeat",
            Self::Pull { .. } => "pull",
            Self::Push { .. } => "push",
            Self::PushReply { .. } => "push-reply",
            Self::Version { .. } => "version",
            Self::Received { .. } => "received",
            Self::Chosen { .. } => "chosen",
            Self::Restore { .. } => "restore",
            Self::Restored { .. } => "restored",
            Self::Capture { .. } => "capture",
            Self::Captured { .. } => "captured",
            Self::Missed { .. } => "missed",
            Self::Finished { .. } => "finished",
            Self::Goodbye => "goodbye",
            Self::Abort(_) => "abort",
            Self::Acknowledged { .. } => "acknowledged",
        }
    }

    /// Returns the tensors that follow the message in its frame, in order.
    #[must_use]
    pub fn tensors(&self) -> Vec<&Floats> {
        match self {
            Self::Push { gradient, .. } => vec![gradient],
            Self::Version { parameters, .. } => vec![parameters],
            Self::Restore { state, .. } | Self::Captured { state, .. } => {
                std::iter::once(&state.parameters).chain(&state.auxiliary).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Stores the tensors of the message's frame in the message's fields.
    ///
    /// # Errors
    /// The number of tensors, if a message of this kind cannot have so many.
    pub fn attach(&mut self, tensors: Vec<Floats>) -> Result<(), usize> {
        let n_tensors = tensors.len();
        let mut tensors = tensors.into_iter();
        match (self, tensors.next()) {
            (
                Self::Push { gradient: place, .. } | Self::Version { parameters: place, .. },
                Some(first),
            ) if n_tensors == 1 => {
                *place = first;
                Ok(())
            }
            (Self::Restore { state, .. } | Self::Captured { state, .. }, Some(parameters)) => {
                state.parameters = parameters;
                state.auxiliary = tensors.collect();
                Ok(())
            }
            (
                Self::Push { .. }
                | Self::Version { .. }
                | Self::Restore { .. }
                | Self::Captured { .. },
                _,
            )
            | (_, Some(_)) => Err(n_tensors),
            (_, None) => Ok(()),
        }
    }
}
