//! The durable files of a run: checkpoints and losses, over a [`disk`](disk::Disk) that tests can
//! break.

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

pub mod checkpoint;
pub mod disk;
pub mod losses;
pub mod run_files;
pub mod sha256;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub mod testing;

pub use run_files::{RunFiles, RunFilesConfig, RunFilesError};
