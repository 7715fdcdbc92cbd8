//! The losses file by name, and what can be wrong with it.

use crate::disk::DiskError;
use crate::losses::rows;
use std::path::PathBuf;
use unisono_core::ids::Step;
use unisono_core::protocol::NotRepeated;

/// The file's name within the logdir.
pub const LOSSES_FILE: &str = "losses.csv";

/// What is wrong with a losses file.
#[derive(Debug, thiserror::Error)]
pub enum LossesError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is not one of ours.
    #[error(
        "{} does not start with `{}`: it is not a losses file; move it away, or choose another \
         --logdir", path.display(), rows::HEADER.trim_end()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A line is not a whole row.
    #[error("{} line {line}: {content:?} is not a whole row of step,slot,loss", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it says, or how that begins.
        content: String,
    },
    /// An update was made a second time, and is another.
    #[error(transparent)]
    NotRepeated(#[from] NotRepeated),
    /// The disk refused for so long that there was no memory left to hold the rows.
    #[error(
        "the losses from step {from} on could not be written to {} and were dropped; start again \
         from the last checkpoint to have them", path.display()
    )]
    Dropped {
        /// The file.
        path: PathBuf,
        /// The first update that is missing.
        from: Step,
    },
    /// The file was lost while the run wrote it, and is too long to be in memory.
    #[error(
        "{} {harm} while this run was writing it, and the rows are too many to be in memory: put \
         the file back, or end this run", path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// What somebody did to it.
        harm: Harm,
    },
}

/// Lines of a losses file that are not rows and are not used, with all that comes after them. The
/// next write cuts them off.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged from line {line} on: its last {n_bytes} bytes are not used", path.display())]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The first line that is not used, from 1.
    pub line: usize,
    /// How much is not used.
    pub n_bytes: usize,
}

/// What somebody else did to a losses file while a run was writing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Harm {
    /// There is no file of that name.
    #[error("was removed")]
    Removed,
    /// Another file has the name.
    #[error("was replaced")]
    Replaced,
    /// The file is shorter than what was written.
    #[error("was cut from {from} to {to} bytes")]
    Cut {
        /// The bytes that were written.
        from: u64,
        /// The bytes that are left.
        to: u64,
    },
    /// The file has something that this run did not write.
    #[error("was written to by somebody else")]
    Changed,
}

/// Something that a person should hear about the losses, though the run goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LossesNotice {
    /// The file was lost, and is whole again.
    #[error("{} {harm} while this run was writing it; all rows were written again", path.display())]
    WrittenAgain {
        /// The file.
        path: PathBuf,
        /// What somebody did to it.
        harm: Harm,
    },
    /// An update came of which those before never did.
    #[error(
        "{} lacks the losses of steps {from} to {to}: put them back, or the next start has to be \
         told --allow-missing-losses", path.display()
    )]
    Gap {
        /// The file.
        path: PathBuf,
        /// The first step without losses.
        from: Step,
        /// The last step without losses.
        to: Step,
    },
}
