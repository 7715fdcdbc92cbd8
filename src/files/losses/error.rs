//! The name of the losses file, and the errors and notices about it.

use crate::disk::DiskError;
use crate::losses::rows;
use std::path::PathBuf;
use unisono_core::ids::Step;
use unisono_core::protocol::NotRepeated;

/// Name of the losses file in a logdir.
pub const LOSSES_FILE: &str = "losses.csv";

/// A problem of a losses file.
#[derive(Debug, thiserror::Error)]
pub enum LossesError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file does not start with the header of a losses file.
    #[error(
        "{} does not start with `{}`: it is not a losses file; move it away, or choose another \
         --logdir", path.display(), rows::HEADER.trim_end()
    )]
    Foreign {
        /// Path of the file.
        path: PathBuf,
    },
    /// A line is not a whole row.
    #[error("{} line {line}: {content:?} is not a whole row of step,slot,loss", path.display())]
    Row {
        /// Path of the file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Content of the line, or its beginning.
        content: String,
    },
    /// An update that was recomputed after a rollback has other losses than in its first
    /// computation.
    #[error(transparent)]
    NotRepeated(#[from] NotRepeated),
    /// Rows were dropped, because the disk refused to write for so long that the rows no longer fit
    /// into memory.
    #[error(
        "the losses from step {from} on could not be written to {} and were dropped; restart from \
         the last checkpoint to record them again", path.display()
    )]
    Dropped {
        /// Path of the file.
        path: PathBuf,
        /// Step of the first update whose rows were dropped.
        from: Step,
    },
    /// The file was damaged while the run was writing to the file. The run cannot repair the file,
    /// because the file is too long for a copy in memory.
    #[error(
        "{} {harm} while this run was writing it, and has too many rows to be kept in memory: \
         restore the file, or stop this run", path.display()
    )]
    Lost {
        /// Path of the file.
        path: PathBuf,
        /// Damage to the file.
        harm: Harm,
    },
}

/// The unused end of a losses file, which begins with the first line that is not a row. The next
/// write cuts this end off.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged from line {line} on: its last {n_bytes} bytes are not used", path.display())]
pub struct Damage {
    /// Path of the file.
    pub path: PathBuf,
    /// Number of the first unused line, from 1.
    pub line: usize,
    /// Number of unused bytes.
    pub n_bytes: usize,
}

/// The kind of damage to a losses file, noticed while a run was writing to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Harm {
    /// The file no longer exists.
    #[error("was removed")]
    Removed,
    /// Another file has taken over the name.
    #[error("was replaced")]
    Replaced,
    /// The file is shorter than the rows that were written.
    #[error("was cut from {from} to {to} bytes")]
    Cut {
        /// Length of the written rows in bytes.
        from: u64,
        /// Length of the file now, in bytes.
        to: u64,
    },
    /// The file has content that this run did not write.
    #[error("was changed by another program")]
    Changed,
    /// A sync of the file failed, so the disk may lack rows that readers still see.
    #[error("could not be synced")]
    NotSynced,
}

/// A notice about the losses for the user. The run continues.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LossesNotice {
    /// The file was damaged and has been rewritten.
    #[error("{} {harm} while this run was writing it; all rows were rewritten", path.display())]
    WrittenAgain {
        /// Path of the file.
        path: PathBuf,
        /// Damage that was repaired.
        harm: Harm,
    },
    /// An update was recorded although earlier updates were not recorded.
    #[error(
        "{} lacks the losses of steps {from} to {to}: restore them, or start the next time with \
         --allow-missing-losses", path.display()
    )]
    Gap {
        /// Path of the file.
        path: PathBuf,
        /// First step without losses.
        from: Step,
        /// Last step without losses.
        to: Step,
    },
}
