//! The file in a logdir that contains the path of the run's training data, so that `unisono eval`
//! finds the data.
//!
//! A checkpoint contains only the digest of its training data. With the path, the bytes of the
//! checkpoint would depend on the machine. The file is only a hint and not part of the run's state,
//! so a reader must check the digest of the data.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use unisono_config::RunConfig;
use unisono_core::ids::Incarnation;
use unisono_files::checkpoint::DATA_DIR_FILE;
use unisono_files::disk::{Disk, DiskError, Publication, RealDisk};

/// The maximum length of a path. It is that of Linux.
const MAX_PATH_BYTES: u64 = 4096;

/// Writes the absolute path of the run's training data to the logdir, or an empty file for the
/// built-in digits. The caller must hold the lock on the logdir. A failure is only logged, because
/// the run does not need the file.
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

/// Returns the folder of the training data of the run in `logdir`; `None` for the built-in digits,
/// and for a logdir without the file.
///
/// # Errors
/// If the file cannot be read.
pub fn read(logdir: &Path) -> Result<Option<PathBuf>, DiskError> {
    let path = logdir.join(DATA_DIR_FILE);
    match RealDisk.read_end(&path, MAX_PATH_BYTES) {
        Ok((_, bytes)) if bytes.is_empty() => Ok(None),
        Ok((_, bytes)) => Ok(Some(PathBuf::from(OsStr::from_bytes(&bytes)))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DiskError::at("read", &path)(error)),
    }
}
