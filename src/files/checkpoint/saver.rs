//! Writes checkpoints, keeps the newest few, and lists them, as TensorFlow's `Saver` does.
//!
//! It never removes a checkpoint that it has not listed: what a person put there stays.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{Survey, Warning};
use super::file::{encode, file_name};
use super::state::{self, STATE_FILE};
use super::{Checkpoint, DATA_DIR_FILE, INCARNATION_FILE};
use crate::disk::{Disk, DiskError, Publication, TEMPORARY, WRITE_CHECK};
use crate::losses::error::LOSSES_FILE;
use unisono_core::ids::Step;

/// Writes the checkpoints of a logdir. There is one at a time: the chief's.
#[derive(Debug)]
pub struct Saver {
    disk: Arc<dyn Disk>,
    logdir: PathBuf,
    max_to_keep: NonZeroUsize,
    /// Published and not retired, oldest first.
    kept: Vec<Step>,
    /// No longer listed, and still to be removed.
    retired: BTreeSet<Step>,
}

/// What became of a checkpoint that is durable now.
#[derive(Debug)]
pub struct Saved {
    /// Its file.
    pub path: PathBuf,
    /// What a person should hear.
    pub warnings: Vec<Warning>,
}

impl Saver {
    /// TensorFlow's `max_to_keep`.
    pub const MAX_TO_KEEP: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");

    /// Goes on with the list that is in the logdir, which is made if need be, and removes
    /// what a writer that died left behind there.
    ///
    /// # Errors
    /// If the logdir cannot be made or read.
    pub fn open(
        disk: Arc<dyn Disk>,
        logdir: &Path,
        max_to_keep: NonZeroUsize,
    ) -> Result<(Self, Vec<Warning>), DiskError> {
        disk.create_dir(logdir).map_err(DiskError::at("make the logdir", logdir))?;
        let warnings = remove_temporaries(&*disk, logdir)?;
        // If the list is of no use, that is for the reader to say, who goes by it too.
        let survey = Survey::new(&*disk, logdir)?;
        let mut kept = survey.listed;
        kept.retain(|step| survey.present.contains(step));
        let logdir = logdir.to_owned();
        Ok((Self { disk, logdir, max_to_keep, kept, retired: BTreeSet::new() }, warnings))
    }

    /// Writes a checkpoint, then lists it as the latest, then removes the oldest. When it comes
    /// back, all of that is durable. The same step again replaces its file and is the latest.
    /// `writer` names who writes, for the names of files that are not yet whole.
    ///
    /// # Errors
    /// What the operating system said. The checkpoints before are as they were; the new one may
    /// be there too, whole. Saving again is always allowed.
    pub fn save(&mut self, checkpoint: &Checkpoint, writer: &str) -> Result<Saved, DiskError> {
        let step = checkpoint.step;
        let publish = |name: &str, bytes: &[u8]| {
            Publication { dir: &self.logdir, name, writer, bytes }.publish(&*self.disk)
        };
        let path = publish(&file_name(step), &encode(checkpoint))?;
        self.kept.retain(|kept| *kept != step);
        self.kept.push(step);
        self.retired.remove(&step);

        let n_oldest = self.kept.len().saturating_sub(self.max_to_keep.get());
        let listed: Vec<String> = self.kept[n_oldest..].iter().copied().map(file_name).collect();
        publish(STATE_FILE, state::encode(&listed).as_bytes())?;
        // Only now does nothing refer to them any more.
        self.retired.extend(self.kept.drain(..n_oldest));
        Ok(Saved { path, warnings: self.remove_retired() })
    }

    /// Those that cannot be removed now are tried again after the next checkpoint.
    fn remove_retired(&mut self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        self.retired.retain(|step| {
            let path = self.logdir.join(file_name(*step));
            let error = remove(&*self.disk, &path).err();
            let is_left = error.is_some();
            warnings.extend(error.map(Warning::NotRemoved));
            is_left
        });
        warnings
    }
}

fn remove_temporaries(disk: &dyn Disk, logdir: &Path) -> Result<Vec<Warning>, DiskError> {
    let names = disk.list(logdir).map_err(DiskError::at("list the logdir", logdir))?;
    let prefixes =
        ["model.ckpt-", STATE_FILE, LOSSES_FILE, DATA_DIR_FILE, INCARNATION_FILE, WRITE_CHECK];
    let is_ours = |name: &&String| {
        name.ends_with(TEMPORARY) && prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let errors =
        names.iter().filter(is_ours).filter_map(|name| remove(disk, &logdir.join(name)).err());
    Ok(errors.map(Warning::NotRemoved).collect())
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    match disk.remove(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(DiskError::at("remove", path)),
    }
}

#[cfg(test)]
mod tests;
