//! The units that travel between tasks: calls that open links, and parcels (messages and closes) on
//! links.

use std::time::Duration;

use unisono_core::protocol::Message;
use unisono_core::{LinkId, TaskId};
use unisono_rules::LifeId;

use crate::world::life::Cause;

/// A unit that a link carries: a message, or the close of the link.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Message(Message),
    /// An encoded message, as on the wire.
    Bytes(Vec<u8>),
    /// The close of the link, with the reason that the receiver gets.
    Close(&'static str),
}

/// A parcel in transit.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) link: LinkId,
    pub(crate) from: LifeId,
    pub(crate) to: LifeId,
    pub(crate) parcel: Parcel,
    pub(crate) cause: Cause,
    /// The delivery time of the parcel, including the delay that faults add. `None` until the delay
    /// has been added, so that a parcel is delayed only once.
    pub(crate) due: Option<Duration>,
}

/// A call in transit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) caller: LifeId,
    pub(crate) to: TaskId,
    pub(super) since: Duration,
    pub(super) retry: Duration,
    pub(super) cause: Cause,
}
