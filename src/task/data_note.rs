//! The file in a logdir that contains the path of the run's training data, so that `unisono eval`
//! finds the data.
//!
//! A checkpoint contains only the digest of its training data, because a path would make the bytes
//! of the checkpoint depend on the machine. The file with the path is only a hint and not part of
//! the run's state, so a reader must check the digest of the data.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use unisono_config::RunConfig;
use unisono_core::ids::Incarnation;
use unisono_files::checkpoint::DATA_DIR_FILE;
use unisono_files::disk::{Disk, DiskError, Publication, RealDisk};

/// The maximum length of a path in bytes. Linux has the same limit.
const MAX_PATH_BYTES: u64 = 4096;

/// Writes the absolute path of the run's training data to a file in the logdir. The file is empty
/// if the run uses the built-in digits. The caller must hold the lock on the logdir. A failure is
/// only logged, because the run does not need the file.
pub fn write(run: &RunConfig, life: Incarnation) {
    if let Err(error) = try_write(&RealDisk, run, life) {
        tracing::warn!("{error}; `unisono eval` will need --data-dir");
    }
}

fn try_write(disk: &dyn Disk, run: &RunConfig, life: Incarnation) -> Result<(), DiskError> {
    let path = run.logdir.join(DATA_DIR_FILE);
    let folder = run.data_dir.as_deref().map(std::path::absolute).transpose();
    let folder = folder.map_err(DiskError::at("find the folder of the data for", &path))?;
    let bytes = folder.as_ref().map(|folder| folder.as_os_str().as_bytes()).unwrap_or_default();
    // A resumed run keeps the existing file, so it does not need a writable disk for this file.
    if disk.read(&path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    let (dir, writer) = (&*run.logdir, &*life.to_string());
    Publication { dir, name: DATA_DIR_FILE, writer, bytes }.publish(disk).map(drop)
}

/// Returns the folder of the training data of the run in `logdir`; `None` if the run uses the
/// built-in digits, or if the logdir has no file with the path.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn read(logdir: &Path) -> Result<Option<PathBuf>, DiskError> {
    let path = logdir.join(DATA_DIR_FILE);
    match RealDisk.read_end(&path, MAX_PATH_BYTES) {
        Ok((_, bytes)) if bytes.is_empty() => Ok(None),
        Ok((_, bytes)) => Ok(Some(PathBuf::from(OsStr::from_bytes(&bytes)))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::at("read", &path)(error)),
    }
}
