//! Why a run ends without its result.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Slot, Step, TaskId};

/// Why a task, or the whole run, cannot go on. Shown to a person as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// A loss was NaN or infinite.
    #[error(
        "the loss is {loss} at step {step}, slot {slot}: training stopped there, and the last good \
         checkpoint stays; a lower --learning-rate, with --allow-changed-settings, is the usual \
         remedy"
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
    /// An update was made a second time, and is another.
    #[error(transparent)]
    NotRepeated(#[from] NotRepeated),
    /// Another task declined the session.
    #[error("{0}")]
    Refused(String),
    /// No checkpoint could be read, or the last one could not be written.
    #[error("{0}")]
    Storage(String),
    /// A task has waited as long as it may.
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
    /// Rule 8: a newer life of the task is known, and this one may not take its place.
    #[error("{0}")]
    Fenced(String),
}

/// A wait became as long as `give_up_after`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "{task} has waited {:.0} s {what}, and gives up as --give-up-after says; the newest checkpoint \
     stays, and the same commands go on from it",
    waited.as_secs_f64()
)]
pub struct GaveUp {
    /// Who waited.
    pub task: TaskId,
    /// For whom and what, for a person.
    pub what: String,
    /// For how long.
    pub waited: Duration,
}

/// A step that was executed a second time, after the cluster went back to a checkpoint, did not
/// repeat the first time to the bit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "update {step} was made a second time, and the loss of slot {slot} is {again}, where it was \
     {first}: faulty hardware, another build, or other data on one of the tasks; or the first was left \
     by a run with other settings that was killed before it saved, and then the same command goes on"
)]
pub struct NotRepeated {
    /// The update's step.
    pub step: Step,
    /// The slot whose loss is another.
    pub slot: Slot,
    /// Its loss the first time.
    pub first: f32,
    /// Its loss the second time.
    pub again: f32,
}
