//! Event files: what a run tells TensorBoard of itself while it trains.
//!
//! `recorder` picks what is worth telling out of what the chief's node takes and does,
//! `summarizer` makes `event`s of it, and `file` appends them. `series` reads a curve back, and
//! `run_info` the start and the settings of the run. Nothing here reads a clock: the wall time comes
//! in. `docs/tensorboard.md` explains each tag.

pub mod event;
pub mod file;
pub mod histogram;
mod proto;
mod record;
pub mod recorder;
pub mod run_info;
pub mod series;
pub mod summarizer;

pub use event::{Content, Event, Value, What};
pub use file::EventFile;
pub use histogram::Histogram;
pub use recorder::{Observation, Recorder, StepSummary};
pub use run_info::RunInfo;
pub use series::Series;
pub use summarizer::{STEPS_PER_SEC, Summarizer, VALIDATION_ACCURACY};

#[cfg(test)]
mod tests;
