//! One writer at a time: locks on the logdir itself and on files that a task appends to. They leave
//! no file behind, and go with the process that holds them.
//!
//! The cluster fences an older incarnation of a task, but no message can keep that incarnation,
//! when it wakes from a pause, from what it was about to write.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::interface::DiskError;

/// Time between two attempts.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Attempts before giving up (250 × 20 ms = 5 s), so that a writer that was just killed can release
/// its lock.
const MAX_ATTEMPTS: u32 = 250;

/// Who has locked the logdir for a process that writes there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockedBy {
    /// Nobody yet: the process takes the lock itself.
    #[default]
    Nobody,
    /// The parent process, which shares its lock with this process.
    Parent,
}

/// Why a process does not get the lock on a logdir.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process has the logdir.
    #[error(
        "another process writes in {}: end it first, even if it is paused, or choose another \
         --logdir", logdir.display()
    )]
    InUse {
        /// The logdir.
        logdir: PathBuf,
    },
}

/// The lock on a logdir, held as long as the value or a copy of its descriptor lives.
#[derive(Debug)]
pub struct LogdirLock(File);

impl LogdirLock {
    /// Takes the lock on a folder that exists, or says why the system has none to give.
    ///
    /// # Errors
    /// If another process holds the lock and keeps it.
    pub fn take(logdir: &Path) -> Result<(Option<Self>, Option<String>), LockError> {
        let dir = open(logdir)?;
        match attempt(&dir) {
            Ok(()) => Ok((Some(Self(dir)), None)),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse { logdir: logdir.to_owned() }),
            Err(TryLockError::Error(why)) => {
                let warning = format!(
                    "cannot lock {}: {why}; nothing keeps a second chief from writing there",
                    logdir.display()
                );
                Ok((None, Some(warning)))
            }
        }
    }

    /// The lock of a folder that the parent process has locked, and shares with this process.
    ///
    /// # Errors
    /// If the folder cannot be opened.
    pub fn of_parent(logdir: &Path) -> Result<Self, LockError> {
        let dir = open(logdir)?;
        // It fails if the parent has the lock. If the parent has none, this process takes it.
        let _ = dir.try_lock();
        Ok(Self(dir))
    }

    /// The folder that is locked.
    pub(super) const fn folder(&self) -> &File {
        &self.0
    }

    /// A descriptor for a child process, which then shares the lock.
    ///
    /// # Errors
    /// If the process has too many open files.
    pub fn share(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }
}

fn open(logdir: &Path) -> Result<File, DiskError> {
    File::open(logdir).map_err(DiskError::at("open the logdir", logdir))
}

/// Takes the lock on an open file. Where the file system has no locks there is none to take.
pub(super) fn take_file(file: &File) -> io::Result<()> {
    match attempt(file) {
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(ErrorKind::ResourceBusy, "another process writes it"))
        }
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn attempt(file: &File) -> Result<(), TryLockError> {
    for attempt in 0..MAX_ATTEMPTS {
        if attempt > 0 {
            pause();
        }
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            result => return result,
        }
    }
    Err(TryLockError::WouldBlock)
}

#[expect(clippy::disallowed_methods, reason = "another process takes real time to end")]
fn pause() {
    thread::sleep(AGAIN_AFTER);
}
