//! Records of a run: the trace of all events, and a hash of the order of events at each task.

pub mod orders;
pub mod trace;
