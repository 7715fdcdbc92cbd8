//! Durable files of a run: checkpoints and losses. Tests can replace the disk by a simulated disk
//! that crashes and fails.
//!
//! | module | content |
//! |---|---|
//! | [`disk`] | the file operations that a run needs, on the operating system's disk or on a simulated disk |
//! | [`checkpoint`] | checkpoint files: the format, finding the newest valid checkpoint, writing, and removal |
//! | [`losses`] | `losses.csv`: the loss of every gradient that an update used |
//! | [`run_files`] | the files of one run as the chief uses them: restore, record, persist |
//! | [`sha256`] | SHA-256 digests as text |

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

pub mod checkpoint;
pub mod disk;
pub mod losses;
pub mod run_files;
pub mod sha256;
#[cfg(any(test, fuzzing, feature = "testing"))]
#[path = "../../tests/unit/run_files.rs"]
pub mod testing;

pub use run_files::{RunFiles, RunFilesConfig, RunFilesError};
