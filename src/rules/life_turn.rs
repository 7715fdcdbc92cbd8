//! One handled input of a process, with its effects.

use unisono_core::Moment;
use unisono_core::protocol::{ClusterConfig, Effect, Input};

use crate::life_id::LifeId;

/// One turn of a process: one handled input with its effects.
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
    /// The effects, in the order in which the process carries them out. If the process dies between
    /// two effects, the later effects are missing.
    pub effects: &'a [Effect],
}
