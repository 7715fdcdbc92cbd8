//! The reasons why a run ends without a result.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Slot, Step, TaskId};

/// The reason why a task or the whole run cannot continue. The user sees the text of this error
/// unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// A loss was NaN or infinite.
    #[error(
        "the loss is {loss} at step {step}, slot {slot}: training stopped there, and the last good \
         checkpoint is kept; a lower --learning-rate, with --allow-changed-settings, is the usual \
         remedy"
    )]
    NonFinite {
        /// The step of the batch.
        step: Step,
        /// The slot of the batch.
        slot: Slot,
        /// The loss: NaN or infinite.
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
        /// The worker that sent the second copy.
        worker: TaskId,
    },
    /// After a rollback, an update was computed a second time, and a loss differs from that of the
    /// first computation.
    #[error(transparent)]
    NotRepeated(#[from] NotRepeated),
    /// A peer refused the session. The text is the peer's reason.
    #[error("{0}")]
    Refused(String),
    /// No checkpoint could be read, or the final checkpoint could not be written.
    #[error("{0}")]
    Storage(String),
    /// A task has waited for `give_up_after`.
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
    /// A peer knows a newer incarnation of this task, and rule 8 forbids that this process takes a
    /// larger incarnation.
    #[error("{0}")]
    Fenced(String),
}

/// A wait reached `give_up_after`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "{task} gave up (--give-up-after) after it had waited {:.0} s {what}; the newest checkpoint is \
     kept, and the same commands continue from it",
    waited.as_secs_f64()
)]
pub struct GaveUp {
    /// The task that waited.
    pub task: TaskId,
    /// The awaited message or event, and the tasks that must provide it, as text.
    pub what: String,
    /// The length of the wait.
    pub waited: Duration,
}

/// The error for an update that was computed a second time after a rollback, with a loss that
/// differs from that of the first computation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "update {step} was computed a second time, and the loss of slot {slot} is {again} instead of \
     {first}: faulty hardware, another build, or other data on one of the tasks; or the first loss is \
     of a run with other settings that was killed before it saved, and then the same command continues"
)]
pub struct NotRepeated {
    /// The update's step.
    pub step: Step,
    /// The lowest slot whose loss differs.
    pub slot: Slot,
    /// The slot's loss in the losses file.
    pub first: f32,
    /// The slot's loss in the recomputed update.
    pub again: f32,
}
