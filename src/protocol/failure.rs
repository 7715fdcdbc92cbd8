//! Why a run ends without its result.

use serde::{Deserialize, Serialize};

use crate::ids::{Slot, Step, TaskId};

/// Why a task, or the whole run, cannot go on. Shown to a person as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// A loss was NaN or infinite.
    #[error(
        "the loss is {loss} at step {step}, slot {slot}: training stopped there, and the last good \
         checkpoint stays; a lower --learning-rate is the usual remedy"
    )]
    NonFinite {
        /// The step at which it happened.
        step: Step,
        /// The slot whose batch it was.
        slot: Slot,
        /// The loss, NaN or infinite.
        loss: f32,
    },
    /// Two computations of one gradient gave different bits.
    #[error(
        "the gradient of step {step}, slot {slot} was computed twice, with different bits: faulty \
         hardware, another build, or other data on {worker}"
    )]
    Diverged {
        /// The gradient's step.
        step: Step,
        /// The gradient's slot.
        slot: Slot,
        /// Who computed it the second time.
        worker: TaskId,
    },
    /// Another task declined the session.
    #[error("{0}")]
    Refused(String),
    /// No checkpoint could be read, or the last one could not be written.
    #[error("{0}")]
    Storage(String),
}
