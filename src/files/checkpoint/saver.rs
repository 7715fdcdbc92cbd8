//! Writes checkpoints, lists the newest few in the state file, and removes older checkpoints, as
//! TensorFlow's `Saver` does.
//!
//! The saver never removes a checkpoint that was never listed, because the user may have put this
//! checkpoint into the logdir.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{Listing, Warning};
use super::file::{encode, file_name};
use super::state::{self, STATE_FILE};
use super::{Checkpoint, DATA_DIR_FILE, INCARNATION_FILE};
use crate::disk::{Disk, DiskError, Publication, TEMPORARY, WRITE_CHECK};
use crate::losses::error::LOSSES_FILE;
use unisono_core::ids::Step;

/// Writes the checkpoints of a logdir. Only the chief of a run has a saver.
#[derive(Debug)]
pub struct Saver {
    disk: Arc<dyn Disk>,
    logdir: PathBuf,
    max_to_keep: NonZeroUsize,
    /// Published checkpoints that are still listed, oldest first.
    kept: Vec<Step>,
    /// Checkpoints that are no longer listed and still have to be removed.
    retired: BTreeSet<Step>,
}

/// A checkpoint that was saved and is durable.
#[derive(Debug)]
pub struct Saved {
    /// Path of the file.
    pub path: PathBuf,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

impl Saver {
    /// Default number of checkpoints to keep, the same as TensorFlow's `max_to_keep`.
    pub const MAX_TO_KEEP: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");

    /// Opens a logdir, creating it if necessary, and continues its list of checkpoints.
    ///
    /// Temporary files that a killed writer left behind are removed.
    ///
    /// # Errors
    /// If the logdir cannot be created or read.
    pub fn open(
        disk: Arc<dyn Disk>,
        logdir: &Path,
        max_to_keep: NonZeroUsize,
    ) -> Result<(Self, Vec<Warning>), DiskError> {
        disk.create_dir(logdir).map_err(DiskError::at("create the logdir", logdir))?;
        let warnings = remove_temporaries(&*disk, logdir)?;
        // An unusable list is not reported here, because `newest_valid` reports it to the user.
        let listing = Listing::new(&*disk, logdir)?;
        let mut kept = listing.listed;
        kept.retain(|step| listing.present.contains(step));
        let logdir = logdir.to_owned();
        Ok((Self { disk, logdir, max_to_keep, kept, retired: BTreeSet::new() }, warnings))
    }

    /// Writes a checkpoint, lists it as the latest checkpoint, and removes the oldest checkpoints.
    /// The new checkpoint and the new list are durable when the call returns.
    ///
    /// An existing checkpoint of the same step is replaced. The names of temporary files contain
    /// `writer`.
    ///
    /// # Errors
    /// If the operating system refuses an operation. The checkpoints of other steps are then
    /// unchanged. The new checkpoint is either complete or absent. The call can be repeated.
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
        // Old checkpoints are removed only here, after the new list is durable. A crash before this
        // point could bring back the old list, which names them.
        self.retired.extend(self.kept.drain(..n_oldest));
        Ok(Saved { path, warnings: self.remove_retired() })
    }

    /// Removes the checkpoints that are no longer listed. A removal that fails is retried after the
    /// next save.
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
    // Only temporary files with the names of this program are removed. Other `.tmp` files belong to
    // the user.
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
