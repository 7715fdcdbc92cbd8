//! Records of a run: the trace of all events, and a hash of their order at each task.

pub mod orders;
pub mod trace;
