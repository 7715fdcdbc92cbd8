//! The arithmetic of a run: the data, the model, the updates, and a serial reference that computes
//! the same training in one process.
//!
//! This crate opens no socket, starts no thread and reads no clock.

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;
#[cfg(test)]
#[path = "../../tests/unit/serial_run.rs"]
mod serial_run;

mod check;
pub mod data;
pub mod model;
pub mod network;
pub mod training;
pub mod workload;

pub use check::check_model;
pub use workload::{DataSource, Setup, Workload, WorkloadError};
