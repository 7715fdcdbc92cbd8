//! One turn of a process.

use unisono_core::Moment;
use unisono_core::protocol::{ClusterConfig, Effect, Input};

use crate::life_id::LifeId;

/// One turn of a process: an input, and the effects that are carried out.
#[derive(Clone, Copy, Debug)]
pub struct LifeTurn<'a> {
    /// The process that takes the input.
    pub life: LifeId,
    /// The time on the clock of the process.
    pub now: Moment,
    /// The configuration of the cluster.
    pub config: &'a ClusterConfig,
    /// The input.
    pub input: &'a Input,
    /// The effects, in order. If the process dies between two effects, only those before its death.
    pub effects: &'a [Effect],
}
