//! A logdir as its readers see it: which checkpoints there are, and which is the newest valid one.
//!
//! Nothing here changes a file.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Checkpoint;
use super::file::{self, FileError};
use super::state::{self, STATE_FILE, StateError};
use crate::disk::{Disk, DiskError};
use crate::losses::error::{LOSSES_FILE, LossesNotice};
use unisono_core::ids::Step;

/// What a person should hear about a logdir, though it is no reason to stop.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// A checkpoint is not valid, and an older one serves.
    #[error("checkpoint {} is skipped: {why}; {instead} is used instead", path.display())]
    Skipped {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Unusable,
        /// The name of the file that is used.
        instead: String,
    },
    /// The state file says nothing.
    #[error("{}: {why}; the checkpoints in the directory are used by their steps instead", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        why: StateError,
    },
    /// Something was another in the run that wrote the checkpoint, and the user wants it so.
    #[error(
        "checkpoint {} is of another run: {changes}; training goes on from it, as \
         --allow-changed-settings says", path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// What was another.
        changes: String,
    },
    /// A file that is no longer needed is still there.
    #[error("{0}; it is not needed any more")]
    NotRemoved(DiskError),
    /// The losses were harmed while the run wrote them.
    #[error(transparent)]
    Losses(LossesNotice),
    /// The losses before the checkpoint are incomplete, and the user accepts that.
    #[error(
        "{}: {missing}; training goes on from the checkpoint, as --allow-missing-losses says",
        path.display()
    )]
    LossesMissing {
        /// The checkpoint.
        path: PathBuf,
        /// What is missing.
        missing: MissingLosses,
    },
}

/// Why a checkpoint is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file is damaged.
    #[error(transparent)]
    File(#[from] FileError),
    /// Rule 7: the losses of every update before it are to be there, and are not.
    #[error(transparent)]
    Losses(#[from] MissingLosses),
}

/// A losses file that lacks rows before a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{LOSSES_FILE} lacks losses of steps {from} to {to}, before this checkpoint{}", in_brackets(.why))]
pub struct MissingLosses {
    /// The first step of which there are no losses.
    pub from: Step,
    /// The last step before the checkpoint.
    pub to: Step,
    /// Why they could not be found elsewhere, if they were looked for.
    pub why: Option<String>,
}

fn in_brackets(why: &Option<String>) -> String {
    why.as_ref().map_or_else(String::new, |why| format!(" ({why})"))
}

/// No checkpoint can be used, though it would be wrong to start anew.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There are checkpoints, and none is valid.
    #[error(
        "no checkpoint in {} is valid: {}; nothing was changed there: put a good copy back, or \
         choose another --logdir to start anew", logdir.display(), skipped.join("; ")
    )]
    NoneValid {
        /// The directory.
        logdir: PathBuf,
        /// Each file, and what is wrong with it.
        skipped: Vec<String>,
    },
    /// There are whole checkpoints, and the losses before each of them are incomplete.
    #[error(
        "no checkpoint in {} has the losses of every step before it: {}; nothing was changed there: \
         put {LOSSES_FILE} back (`unisono reference` with the same settings and another --logdir \
         writes the same one if replicas_to_aggregate is at least the number of workers), or go on \
         without these losses with --allow-missing-losses, or choose another --logdir",
        logdir.display(), skipped.join("; ")
    )]
    NoLosses {
        /// The directory.
        logdir: PathBuf,
        /// Each file, and what is wrong with it.
        skipped: Vec<String>,
    },
}

/// What [`newest_valid`] found.
#[derive(Debug)]
pub struct Newest {
    /// The checkpoint and its file; `None` if the logdir has none at all.
    pub found: Option<(PathBuf, Checkpoint)>,
    /// What a person should hear, in order.
    pub warnings: Vec<Warning>,
}

/// Reads the newest valid checkpoint: the one that the state file calls the latest, else those it
/// lists before, newest first, else any other in the directory, by step.
///
/// # Errors
/// If there are checkpoints and none is valid.
pub fn newest_valid(disk: &dyn Disk, logdir: &Path) -> Result<Newest, DirectoryError> {
    newest_with_losses(disk, logdir, |_| None)
}

/// As [`newest_valid`], of those checkpoints before which no losses are `missing`.
pub fn newest_with_losses(
    disk: &dyn Disk,
    logdir: &Path,
    missing: impl Fn(Step) -> Option<MissingLosses>,
) -> Result<Newest, DirectoryError> {
    let mut survey = Survey::new(disk, logdir)?;
    let mut skipped = Vec::new();
    for step in survey.candidates() {
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
                let mut warnings: Vec<Warning> = survey.state_warning(logdir).into_iter().collect();
                warnings.extend(skipped.into_iter().map(warning));
                return Ok(Newest { found: Some((path, checkpoint)), warnings });
            }
        }
    }
    let lacks_losses = skipped.iter().any(|(_, why)| matches!(why, Unusable::Losses(_)));
    let skipped = skipped.into_iter().map(|(path, why)| (path, why.to_string()));
    let state = survey.state_error.take().filter(|_| survey.state_exists);
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

/// The step of the checkpoint that is tried first, unread.
pub fn newest_step(disk: &dyn Disk, logdir: &Path) -> Result<Option<Step>, DiskError> {
    Ok(Survey::new(disk, logdir)?.candidates().first().copied())
}

fn describe(path: &Path, why: &str) -> String {
    format!("{}: {why}", path.file_name().unwrap_or_default().display())
}

/// The checkpoints of a logdir by name, unread.
pub(super) struct Survey {
    /// What the state file lists, oldest first; or all that are present, if it says nothing.
    pub(super) listed: Vec<Step>,
    /// The files in the directory.
    pub(super) present: BTreeSet<Step>,
    state_exists: bool,
    state_error: Option<StateError>,
}

impl Survey {
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

    /// In the order in which they are to be tried.
    fn candidates(&self) -> Vec<Step> {
        let unlisted = self.present.iter().filter(|step| !self.listed.contains(step));
        self.listed.iter().rev().chain(unlisted.rev()).copied().collect()
    }

    /// What to say about the state file, if it is of no use, and there are checkpoints.
    pub(super) fn state_warning(&mut self, logdir: &Path) -> Option<Warning> {
        let why = self.state_error.take()?;
        Some(Warning::State { path: logdir.join(STATE_FILE), why })
    }
}

/// The steps of paths relative to the logdir, or absolute within it.
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
