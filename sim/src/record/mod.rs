//! What is recorded of a run: every event, and the order of events at each task.

pub mod orders;
pub mod trace;
