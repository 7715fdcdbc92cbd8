//! Lists the checkpoints of a logdir, and finds the newest valid checkpoint.
//!
//! No function here changes a file.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Checkpoint;
use super::file::{self, FileError};
use super::state::{self, STATE_FILE, StateError};
use crate::disk::{Disk, DiskError};
use crate::losses::error::{LOSSES_FILE, LossesNotice};
use unisono_core::ids::Step;

/// A problem of a logdir that the user should know about, and that does not stop the run.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// A checkpoint cannot be used, and another checkpoint of the logdir is used instead.
    #[error("checkpoint {} is skipped: {why}; {instead} is used instead", path.display())]
    Skipped {
        /// Path of the skipped checkpoint.
        path: PathBuf,
        /// Reason why the checkpoint cannot be used.
        why: Unusable,
        /// File name of the checkpoint that is used instead.
        instead: String,
    },
    /// The state file, which lists the checkpoints, cannot be used.
    #[error("{}: {why}; ordering the checkpoints in the directory by step", path.display())]
    State {
        /// Path of the state file.
        path: PathBuf,
        /// Reason why the state file cannot be used.
        why: StateError,
    },
    /// The checkpoint was written with other settings or data. The run continues from this
    /// checkpoint, because the user has allowed changed settings.
    #[error(
        "checkpoint {} belongs to another run: {changes}; continuing from it because of \
         --allow-changed-settings", path.display()
    )]
    Changed {
        /// Path of the checkpoint.
        path: PathBuf,
        /// Settings and data that differ between the checkpoint and this run.
        changes: String,
    },
    /// A file that is no longer needed could not be removed.
    #[error("{0}; the file is no longer needed")]
    NotRemoved(DiskError),
    /// While the run was writing the losses file, the file was damaged and repaired, or a gap was
    /// left in the file.
    #[error(transparent)]
    Losses(LossesNotice),
    /// Losses of steps before the checkpoint are missing. The run continues from this checkpoint,
    /// because the user has allowed missing losses.
    #[error(
        "{}: {missing}; continuing from the checkpoint because of --allow-missing-losses",
        path.display()
    )]
    LossesMissing {
        /// Path of the checkpoint.
        path: PathBuf,
        /// The missing losses.
        missing: MissingLosses,
    },
}

/// The reason why a checkpoint is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file is not a valid checkpoint.
    #[error(transparent)]
    File(#[from] FileError),
    /// Losses of updates before the checkpoint are missing, so rule 7 of the protocol is broken.
    #[error(transparent)]
    Losses(#[from] MissingLosses),
}

/// A range of steps before a checkpoint whose losses are missing from the losses file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{LOSSES_FILE} lacks losses of steps {from} to {to}, before this checkpoint{}", in_brackets(.why))]
pub struct MissingLosses {
    /// First step whose losses are missing.
    pub from: Step,
    /// Last step before the checkpoint.
    pub to: Step,
    /// Reason why no other source provided the missing losses; `None` if no other source was
    /// searched.
    pub why: Option<String>,
}

fn in_brackets(why: &Option<String>) -> String {
    why.as_ref().map_or_else(String::new, |why| format!(" ({why})"))
}

/// The reason why no checkpoint of a logdir can be used. A new run must not start in this logdir
/// either, because the logdir contains an earlier run.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The directory has checkpoints, but none is valid.
    #[error(
        "no checkpoint in {} is valid: {}; nothing was changed there: restore a good copy, or \
         choose another --logdir to start a new run", logdir.display(), skipped.join("; ")
    )]
    NoneValid {
        /// Folder of the run.
        logdir: PathBuf,
        /// Each skipped file with its problem.
        skipped: Vec<String>,
    },
    /// The directory has valid checkpoints, but losses of steps before every valid checkpoint are
    /// missing.
    #[error(
        "no checkpoint in {} has the losses of every step before it: {}; nothing was changed \
         there: restore {LOSSES_FILE} (`unisono reference` with the same settings and another \
         --logdir writes the same file if replicas_to_aggregate is at least the number of \
         workers), continue without these losses with --allow-missing-losses, or choose another \
         --logdir",
        logdir.display(), skipped.join("; ")
    )]
    NoLosses {
        /// Folder of the run.
        logdir: PathBuf,
        /// Each skipped file with its problem.
        skipped: Vec<String>,
    },
}

/// Result of [`newest_valid`].
#[derive(Debug)]
pub struct Newest {
    /// Path and content of the newest valid checkpoint; `None` if the logdir has no checkpoint.
    pub found: Option<(PathBuf, Checkpoint)>,
    /// Warnings for the user, in order.
    pub warnings: Vec<Warning>,
}

/// Reads the newest valid checkpoint.
///
/// The function first tries the checkpoint that the state file calls the latest. Then it tries the
/// other listed checkpoints, newest first, and then all unlisted checkpoints of the directory, by
/// descending step.
///
/// # Errors
/// If the directory cannot be listed, or if it has checkpoints or a state file but no valid
/// checkpoint.
pub fn newest_valid(disk: &dyn Disk, logdir: &Path) -> Result<Newest, DirectoryError> {
    newest_with_losses(disk, logdir, |_| None)
}

/// Reads the newest valid checkpoint for whose step `missing` reports no missing losses.
///
/// # Errors
/// If the directory cannot be listed, or if it has checkpoints or a state file but no valid
/// checkpoint for which `missing` returns `None`.
pub(crate) fn newest_with_losses(
    disk: &dyn Disk,
    logdir: &Path,
    missing: impl Fn(Step) -> Option<MissingLosses>,
) -> Result<Newest, DirectoryError> {
    let mut listing = Listing::new(disk, logdir)?;
    let mut skipped = Vec::new();
    for step in listing.candidates() {
        let name = file::file_name(step);
        let path = logdir.join(&name);
        let read = || {
            let bytes = disk.read(&path).map_err(FileError::from)?;
            let checkpoint = file::decode(step, &bytes)?;
            missing(step).map_or(Ok(checkpoint), |missing| Err(Unusable::Losses(missing)))
        };
        match read() {
            Err(why) => skipped.push((path, why)),
            Ok(checkpoint) => {
                let warning = |(path, why)| Warning::Skipped { path, why, instead: name.clone() };
                let mut warnings: Vec<Warning> =
                    listing.state_warning(logdir).into_iter().collect();
                warnings.extend(skipped.into_iter().map(warning));
                return Ok(Newest { found: Some((path, checkpoint)), warnings });
            }
        }
    }
    let lacks_losses = skipped.iter().any(|(_, why)| matches!(why, Unusable::Losses(_)));
    let skipped = skipped.into_iter().map(|(path, why)| (path, why.to_string()));
    // A state file proves that the logdir belongs to an earlier run, even if all checkpoints are
    // gone. A new run must not start there.
    let state = listing.state_error.take().filter(|_| listing.state_exists);
    let state = state.map(|why| (logdir.join(STATE_FILE), why.to_string()));
    let skipped: Vec<String> =
        state.into_iter().chain(skipped).map(|(path, why)| describe(&path, &why)).collect();
    if skipped.is_empty() {
        return Ok(Newest { found: None, warnings: Vec::new() });
    }
    let logdir = logdir.to_owned();
    Err(if lacks_losses {
        DirectoryError::NoLosses { logdir, skipped }
    } else {
        DirectoryError::NoneValid { logdir, skipped }
    })
}

/// Returns the step of the checkpoint that [`newest_valid`] tries first. Does not read the
/// checkpoint.
///
/// # Errors
/// If the directory cannot be listed.
pub(crate) fn newest_step(disk: &dyn Disk, logdir: &Path) -> Result<Option<Step>, DiskError> {
    Ok(Listing::new(disk, logdir)?.candidates().first().copied())
}

fn describe(path: &Path, why: &str) -> String {
    format!("{}: {why}", path.file_name().unwrap_or_default().display())
}

/// The checkpoints of a logdir, known only by their file names.
pub(super) struct Listing {
    /// Checkpoints that the state file lists, oldest first. If the state file cannot be used, the
    /// list has all checkpoints of the directory, by step.
    pub(super) listed: Vec<Step>,
    /// Checkpoints in the directory.
    pub(super) present: BTreeSet<Step>,
    state_exists: bool,
    state_error: Option<StateError>,
}

impl Listing {
    pub(super) fn new(disk: &dyn Disk, logdir: &Path) -> Result<Self, DiskError> {
        let names = match disk.list(logdir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            names => names.map_err(DiskError::at("list the logdir", logdir))?,
        };
        let present = file::steps_among(&names);
        let state_exists = names.iter().any(|name| name == STATE_FILE);
        let state = match disk.read(&logdir.join(STATE_FILE)) {
            Ok(bytes) => state::decode(&bytes).and_then(|paths| steps_of(logdir, &paths)),
            Err(error) => Err(StateError::Unreadable(error.to_string())),
        };
        let in_order = || present.iter().copied().collect();
        let (listed, state_error) = match state {
            Ok(listed) => (listed, None),
            Err(why) => (in_order(), Some(why)),
        };
        Ok(Self { listed, present, state_exists, state_error })
    }

    /// Returns the steps of all checkpoints, in the order in which [`newest_valid`] tries them.
    fn candidates(&self) -> Vec<Step> {
        let unlisted = self.present.iter().filter(|step| !self.listed.contains(step));
        self.listed.iter().rev().chain(unlisted.rev()).copied().collect()
    }

    /// Returns a warning if the state file cannot be used. Call this function only if the logdir
    /// has checkpoints, because an empty logdir needs no state file.
    pub(super) fn state_warning(&mut self, logdir: &Path) -> Option<Warning> {
        let why = self.state_error.take()?;
        Some(Warning::State { path: logdir.join(STATE_FILE), why })
    }
}

/// Returns the step of each checkpoint path. A path is a file name within the logdir, with or
/// without the path of the logdir before it.
pub(super) fn steps_of(logdir: &Path, paths: &[String]) -> Result<Vec<Step>, StateError> {
    let step = |path: &String| {
        let path_in_full = Path::new(path);
        let name = path_in_full.strip_prefix(logdir).unwrap_or(path_in_full);
        name.to_str()
            .and_then(file::step_of)
            .ok_or_else(|| StateError::Foreign { path: path.clone() })
    };
    paths.iter().map(step).collect()
}
