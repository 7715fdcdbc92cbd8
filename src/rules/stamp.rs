//! The life that takes an input, and when.

use crate::life_id::LifeId;
use unisono_core::Moment;
use unisono_core::protocol::ClusterConfig;

/// Whose inputs and effects, and when.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The life that takes the input.
    pub life: LifeId,
    /// What its clock says.
    pub moment: Moment,
    /// The cluster that it is in.
    pub config: &'a ClusterConfig,
}
