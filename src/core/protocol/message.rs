//! What tasks say to each other. `docs/protocol.md` states who may send what, when, and why.
//!
//! Tensors are fields like any other here; how they travel is `wire`'s business.

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
    /// The shard's parameters, flat, in the order of its layout.
    #[serde(skip)]
    pub parameters: Floats,
    /// What the optimizer and the moving average keep beside them: buffers of the same length,
    /// in the order that the update rule documents. Empty for plain gradient descent.
    #[serde(skip)]
    pub auxiliary: Vec<Floats>,
    /// The elements that the L2 term covers, ascending. A ps is told, since it knows no model.
    pub regularized: Vec<Range<usize>>,
}

/// What one update used: the slots in ascending order, each with the loss of its batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRecord {
    /// The version k from which the update made version k + 1, and its generation.
    pub cut: Cut,
    /// Exactly `replicas_to_aggregate` slots and losses, ascending by slot.
    pub losses: Vec<(Slot, f32)>,
}

/// How far the chief's losses file has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Every update below this step is in the file, and need not be sent again.
    pub written: Step,
    /// Every update below this step is there whatever happens to the chief's machine, and need not
    /// be kept.
    pub durable: Step,
}

/// The first message on every link, from the end that connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub version: u32,
    /// Who is calling.
    pub from: TaskId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Who it believes it is calling: a permuted host list is found here.
    pub to: TaskId,
    /// Every setting that touches a number.
    pub settings: Settings,
    /// Digest of the training data, from those who hold any (workers).
    pub data: Option<String>,
}

/// The newest life of a task that a peer knows, to a process of the task that is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewerIncarnation {
    /// The incarnation to exceed.
    pub incarnation: Incarnation,
    /// Whether the peer has a session with it, so that it may be alive.
    pub is_connected: bool,
}

/// What became of a gradient that was not accepted as new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Rule 4: this identity was accepted before; the copy was ignored.
    Duplicate,
    /// Rule 5: computed from an older version than the shard's; counted and dropped.
    Stale,
    /// Rule 8: of an older generation; dropped.
    Fenced,
}

/// Which version a worker wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// The first one that is not before this cut.
    AtLeast(Cut),
    /// This very one, if it is the shard's version or the one before; otherwise as `AtLeast`.
    Exactly(Cut),
}

impl Want {
    /// The oldest version that will do.
    #[must_use]
    pub const fn cut(self) -> Cut {
        match self {
            Self::AtLeast(cut) | Self::Exactly(cut) => cut,
        }
    }
}

/// A message between two tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Opens a session.
    Hello(Hello),
    /// Accepts a session.
    Welcome {
        /// The life of the task that was called.
        incarnation: Incarnation,
        /// Where its shard stands; `None` while it holds no state.
        state: Option<Cut>,
    },
    /// Declines a session: from the called end instead of `Welcome`, or from the caller after a
    /// `Welcome` of an older incarnation. The sender closes the link after it.
    Refused {
        /// One line for the person who started the caller: what was wrong, and what to do.
        reason: String,
        /// The life that the receiver is older than, if it is refused for that (rule 8).
        older_than: Option<NewerIncarnation>,
    },
    /// Says that the sender lives, when it has had nothing else to say.
    Heartbeat,

    /// Worker to ps: send me a version.
    Pull {
        /// Which one.
        want: Want,
        /// From the chief: what has become of the losses.
        recorded: Recorded,
    },
    /// Worker to ps: this shard's part of a gradient. It asks for the next version, too.
    Push {
        /// The version that the gradient was computed from.
        cut: Cut,
        /// Which unit of work it is.
        slot: Slot,
        /// The loss of the slot's batch.
        loss: f32,
        /// As in [`Message::Pull`].
        recorded: Recorded,
        /// The gradient of the shard's parameters, flat, in the order of its layout.
        #[serde(skip)]
        gradient: Floats,
    },
    /// Ps to worker: what became of a push that was not accepted as new.
    PushReply {
        /// As pushed.
        cut: Cut,
        /// As pushed.
        slot: Slot,
        /// What became of it.
        verdict: Verdict,
    },
    /// Ps to worker: one shard's version.
    Version {
        /// The version, and its generation.
        cut: Cut,
        /// From ps 0: the slots of this step that the worker may compute.
        tokens: Vec<Slot>,
        /// Those of the worker's slots that the shard holds already.
        received: Vec<Slot>,
        /// From ps 0 to the chief: the updates that the chief has yet to record, ascending.
        updates: Vec<UpdateRecord>,
        /// The worker's pushes on this link that the ps has judged; as in
        /// [`Message::Acknowledged`].
        acknowledged: u64,
        /// The shard's parameters, flat, in the order of its layout.
        #[serde(skip)]
        parameters: Floats,
    },

    /// Ps i to ps 0, when R < N: the slots of this step that shard i holds whole.
    Received {
        /// The version that the gradients were computed from.
        cut: Cut,
        /// In the order in which they came.
        slots: Vec<Slot>,
    },
    /// Ps 0 to ps i, when R < N: the slots that update `step` uses.
    Chosen {
        /// The version that the update starts from.
        cut: Cut,
        /// Exactly `replicas_to_aggregate`, ascending.
        slots: Vec<Slot>,
    },

    /// Chief to ps: take this state, and forget any other.
    Restore {
        /// The version of the state, in the generation that the message opens.
        cut: Cut,
        /// The shard's whole state.
        state: ShardState,
    },
    /// Ps to chief: the restored state is in place.
    Restored {
        /// As in [`Message::Restore`].
        generation: Generation,
    },
    /// Chief to ps: send me your state as it is at exactly this version.
    Capture {
        /// The version to capture; the same on every shard.
        cut: Cut,
    },
    /// Ps to chief: the state asked for.
    Captured {
        /// The version of the state.
        cut: Cut,
        /// The shard's whole state.
        state: ShardState,
    },
    /// Ps to chief: that version is past; ask for a later one.
    Missed {
        /// As asked.
        cut: Cut,
        /// Where the shard stands.
        current: Step,
    },

    /// Chief to ps, and ps to workers: the last update is in a durable checkpoint; all may end.
    Finished {
        /// The generation that ended.
        generation: Generation,
    },
    /// Worker to ps: I know that all is done, and leave.
    Goodbye,
    /// To everyone: the run cannot go on.
    Abort(Failure),

    /// Ps to worker: the first pushes of this link are judged, and need not be kept. Sent only
    /// when no version is due that would acknowledge them.
    Acknowledged {
        /// How many pushes of this link are judged.
        pushes: u64,
    },
}

impl Message {
    /// Its kind, for traces and errors.
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

    /// The tensors that travel behind the message, in order.
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

    /// Puts the tensors that travelled behind the message back in their places.
    ///
    /// # Errors
    /// The number of tensors, if it does not fit the kind of message.
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
