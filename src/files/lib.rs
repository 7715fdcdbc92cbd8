//! Durable files of a run: checkpoints and losses. The disk under them can be replaced by one that
//! tests break.
//!
//! | module | content |
//! |---|---|
//! | [`disk`] | the file operations that a run needs, on the operating system's disk or on a disk that tests break |
//! | [`checkpoint`] | checkpoint files: their format, the newest valid one in a logdir, writing and retiring them |
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
