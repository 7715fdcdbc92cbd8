//! The messages between tasks. `docs/protocol.md` states which task sends each message, and when.
//!
//! Tensors are ordinary fields of a message. The module `wire` encodes messages and tensors.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::floats::Floats;
use crate::ids::{Cut, Generation, Incarnation, Slot, Step, TaskId};
use crate::protocol::failure::Failure;
use crate::protocol::settings::Settings;

/// The version of the messages and of their encoding. Tasks with different versions refuse each
/// other.
pub const PROTOCOL_VERSION: u32 = 2;

/// One shard's state at one version: everything that an update reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardState {
    /// The shard's parameters as one flat buffer, in the order of the shard's layout.
    #[serde(skip)]
    pub parameters: Floats,
    /// The buffers of the optimizer and of the moving average, in the order that the update rule
    /// documents. Each buffer is as long as the parameters. Plain gradient descent has no such
    /// buffers.
    #[serde(skip)]
    pub auxiliary: Vec<Floats>,
    /// The elements that the L2 term covers, as ascending ranges. A ps does not know the model, so
    /// the ranges are sent together with the state.
    pub regularized: Vec<Range<usize>>,
}

/// The slots and losses of one update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRecord {
    /// The generation of the update, and the version `step` from which the update made version
    /// `step + 1`.
    pub cut: Cut,
    /// Exactly `replicas_to_aggregate` slots in ascending order, each with the loss of its batch.
    pub losses: Vec<(Slot, f32)>,
}

/// The state of the chief's losses file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The first step that is not in the losses file. Ps 0 need not send the chief the updates of
    /// earlier steps.
    pub written: Step,
    /// The first step whose row may be lost from the losses file if the chief's machine loses
    /// power. Ps 0 need not keep the updates of earlier steps.
    pub durable: Step,
}

/// The first message on every link. The task that opened the link sends the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The calling task.
    pub from: TaskId,
    /// The incarnation of the calling task.
    pub incarnation: Incarnation,
    /// The task that the caller expects at this address. This field shows the called task whether
    /// the host lists of the two tasks have different orders.
    pub to: TaskId,
    /// Every setting of the caller that influences the computed numbers.
    pub settings: Settings,
    /// The digest of a worker's training data, or `None` from a ps.
    pub data: Option<String>,
}

/// The newest incarnation of a task that the refusing peer knows. A refusal of an older incarnation
/// of that task contains this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewerIncarnation {
    /// The incarnation that the refused task must exceed.
    pub incarnation: Incarnation,
    /// Whether the peer has a session with the newer incarnation. If so, the newer process may be
    /// alive.
    pub is_connected: bool,
}

/// The reason why a ps did not accept a gradient as new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// A gradient for the same slot and version with the same bits was accepted before. The copy
    /// was ignored (rule 4).
    Duplicate,
    /// The gradient was computed from an older version than the shard's current version. The
    /// gradient was counted and dropped (rule 5).
    Stale,
    /// The gradient belongs to another generation than the shard's state, or the shard has no
    /// state. The gradient was counted and dropped (rule 8).
    Fenced,
}

/// The version that a worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// The shard's current version, as soon as that version is not older than the given generation
    /// and step.
    AtLeast(Cut),
    /// The version with exactly the given generation and step, if that is the shard's current or
    /// previous version. Otherwise like `AtLeast`.
    Exactly(Cut),
}

impl Want {
    /// Returns the generation and the step of the oldest version that the worker can use.
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
        /// The generation and the step of the called ps's shard, or `None` while the ps has no
        /// state.
        state: Option<Cut>,
    },
    /// Refuses a session. A called task sends `Refused` instead of `Welcome`. A caller sends
    /// `Refused` after it has received a `Welcome` from an older incarnation. The sender then
    /// closes the link.
    Refused {
        /// One line for the user who started the refused task: the problem and the remedy.
        reason: String,
        /// The newer incarnation, if the receiver is refused because of an older incarnation (rule
        /// 8).
        older_than: Option<NewerIncarnation>,
    },
    /// Shows that the sender is alive. A task sends a heartbeat after it has sent no other message
    /// on the link for `heartbeat_interval`.
    Heartbeat,

    /// Sent by a worker to a ps. Requests a version of the shard.
    Pull {
        /// The version that the worker can use.
        want: Want,
        /// The state of the losses file, if the sender is the chief.
        recorded: Recorded,
    },
    /// Sent by a worker to a ps. Contains the shard's part of a gradient, and also requests the
    /// next version.
    Push {
        /// The version that the gradient was computed from.
        cut: Cut,
        /// The slot of the gradient's batch.
        slot: Slot,
        /// The loss of the batch.
        loss: f32,
        /// The state of the losses file, if the sender is the chief.
        recorded: Recorded,
        /// The gradient of the shard's parameters as one flat buffer, in the order of the shard's
        /// layout.
        #[serde(skip)]
        gradient: Floats,
    },
    /// Sent by a ps to a worker. A push was not accepted as a new gradient.
    PushReply {
        /// The generation and the version from which the gradient was computed.
        cut: Cut,
        /// The slot of the push.
        slot: Slot,
        /// The reason.
        verdict: Verdict,
    },
    /// Sent by a ps to a worker. Contains one shard's version.
    Version {
        /// The version and its generation.
        cut: Cut,
        /// The slots that the worker may compute in this step, ascending. Empty if the sender is
        /// not ps 0.
        tokens: Vec<Slot>,
        /// The worker's slots whose gradients the shard already holds.
        received: Vec<Slot>,
        /// The updates that the chief has not written yet, ascending. Empty unless ps 0 sends the
        /// version to the chief.
        updates: Vec<UpdateRecord>,
        /// The number of pushes on this link that the ps has processed, as in
        /// [`Message::Acknowledged`].
        acknowledged: u64,
        /// The shard's parameters as one flat buffer, in the order of the shard's layout.
        #[serde(skip)]
        parameters: Floats,
    },

    /// Sent by a ps to ps 0 if R < N. Lists slots of this step whose gradients the sender's shard
    /// holds.
    Received {
        /// The version that the gradients were computed from.
        cut: Cut,
        /// The slots.
        slots: Vec<Slot>,
    },
    /// Sent by ps 0 to the other ps if R < N. Lists the slots that the update uses.
    Chosen {
        /// The version that the update starts from.
        cut: Cut,
        /// Exactly `replicas_to_aggregate` slots, ascending.
        slots: Vec<Slot>,
    },

    /// Sent by the chief to a ps. The ps replaces its shard's state by the state in this message,
    /// and starts a new generation.
    Restore {
        /// The version of the state, in the new generation.
        cut: Cut,
        /// The shard's whole state.
        state: ShardState,
    },
    /// Sent by a ps to the chief. The shard has the restored state of this generation.
    Restored {
        /// The generation of the [`Message::Restore`].
        generation: Generation,
    },
    /// Sent by the chief to a ps. Requests the shard's state at exactly this version.
    Capture {
        /// The version to capture, which is the same on every shard.
        cut: Cut,
    },
    /// Sent by a ps to the chief. Contains the captured state.
    Captured {
        /// The version of the state.
        cut: Cut,
        /// The shard's whole state.
        state: ShardState,
    },
    /// Sent by a ps to the chief. The requested version cannot be captured, because the shard
    /// already has a later version or is of another generation.
    Missed {
        /// The version of the [`Message::Capture`].
        cut: Cut,
        /// The present version of the shard.
        current: Step,
    },

    /// Sent by the chief to every ps, and by a ps to the workers. The final checkpoint is durable,
    /// so the receiver may end. A ps also answers the chief with `Finished`.
    Finished {
        /// The generation in which the run ended.
        generation: Generation,
    },
    /// Sent by a worker to a ps. The worker knows that the run has ended, and leaves.
    Goodbye,
    /// Sent by any task to its peers. The run cannot continue.
    Abort(Failure),

    /// Sent by a ps to a worker. The ps has processed the given number of pushes, which the worker
    /// need not keep any longer. A version also acknowledges pushes, so `Acknowledged` is sent only
    /// if no version is due.
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

    /// Returns the tensors of the message, in the order in which they follow the message in a
    /// frame.
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

    /// Stores the tensors of a received frame in the fields of the message.
    ///
    /// # Errors
    /// Returns the number of tensors if a message of this kind cannot have that many tensors.
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
