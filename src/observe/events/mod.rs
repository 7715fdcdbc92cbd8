//! Event files for TensorBoard, written while a run trains.
//!
//! | module | content |
//! |---|---|
//! | [`recorder`] | selects observations from the inputs and effects of the chief's node |
//! | [`summarizer`] | turns observations into events |
//! | [`mod@event`] | the format of an event |
//! | [`mod@file`] | appends events to a file |
//! | [`series`] | reads a curve from event files |
//! | [`run_info`] | reads the start and the settings of a run |
//!
//! This module reads no clock; callers pass the wall time. `docs/tensorboard.md` explains each tag.

pub mod event;
pub mod file;
pub mod histogram;
mod proto;
mod record;
pub mod recorder;
pub mod run_info;
pub mod series;
pub mod summarizer;

pub use event::{Content, Event, Payload, Value};
pub use file::EventFile;
pub use histogram::Histogram;
pub use recorder::{Observation, Recorder, StepSummary};
pub use run_info::RunInfo;
pub use series::Series;
pub use summarizer::{STEPS_PER_SEC, Summarizer, VALIDATION_ACCURACY};

#[cfg(test)]
mod tests;
