//! What is on its way between tasks: calls, and parcels on links.

use std::time::Duration;

use unisono_core::protocol::Message;
use unisono_core::{LinkId, TaskId};

use crate::world::life::{Cause, LifeId};

/// What goes along a link.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Message(Message),
    /// The same, as it is on the wire.
    Bytes(Vec<u8>),
    /// The other end closed, or is no more.
    Close(&'static str),
}

/// A parcel on its way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) link: LinkId,
    pub(crate) from: LifeId,
    pub(crate) to: LifeId,
    pub(crate) parcel: Parcel,
    pub(crate) cause: Cause,
    /// When it comes, once faults that delay have had their say.
    pub(crate) due: Option<Duration>,
}

/// A call on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) caller: LifeId,
    pub(crate) to: TaskId,
    pub(super) since: Duration,
    pub(super) retry: Duration,
    pub(super) cause: Cause,
}

/// What becomes of what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Free,
    /// It waits until a fault has ended.
    Held,
    /// It is gone.
    Lost,
}
