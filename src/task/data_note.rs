//! The file in a logdir with the path of the run's data, so that `unisono eval` finds them.
//!
//! A checkpoint has only the digest of its data: with a path, its bytes would depend on the machine. The
//! file is a hint and no part of the run's state, so a reader must check the digest.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use unisono_config::RunConfig;
use unisono_core::ids::Incarnation;
use unisono_files::checkpoint::DATA_DIR_FILE;
use unisono_files::disk::{Disk, DiskError, Publication, RealDisk};

/// The limit of a path's length, which is that of Linux.
const MAX_PATH_BYTES: u64 = 4096;

/// Writes the absolute path of the run's data to its logdir, or an empty file for the built-in digits.
/// The caller must hold the lock on the logdir. A failure is only logged: the run does not need the
/// file.
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
    // A run that resumes keeps the file, so that a start does not need a writable disk for it.
    if disk.read(&path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    let (dir, writer) = (&*run.logdir, &*life.to_string());
    Publication { dir, name: DATA_DIR_FILE, writer, bytes }.publish(disk).map(drop)
}

/// Returns the folder of the data of the run in `logdir`; `None` for the built-in digits and for a
/// logdir without the file.
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
