//! Event files: what a run tells TensorBoard of itself while it trains.
//!
//! `recorder` picks what is worth telling out of what the chief's node takes and does,
//! `summarizer` makes `event`s of it, `file` appends them, `series` reads a curve back. Nothing here reads a clock: the
//! wall time comes in. What each tag means is in `docs/tensorboard.md`.

pub mod event;
pub mod file;
pub mod histogram;
mod proto;
mod record;
pub mod recorder;
pub mod series;
pub mod summarizer;

pub use event::{Content, Event, Value, What};
pub use file::EventFile;
pub use histogram::Histogram;
pub use recorder::{Observation, Recorder, StepSummary};
pub use series::Series;
pub use summarizer::{Summarizer, VALIDATION_ACCURACY};

#[cfg(test)]
mod tests;
