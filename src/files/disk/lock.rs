//! Locks on a logdir, and on single files to which a task appends. A lock allows only one writer at
//! a time.
//!
//! A lock needs no lock file. The operating system releases a lock when all processes that hold the
//! lock have ended.
//!
//! The protocol rejects messages of an older incarnation of a task, but cannot keep a paused older
//! incarnation from writing to a file after the pause. A lock prevents these writes, because the
//! newer incarnation does not start while the older incarnation holds the lock.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::interface::DiskError;

/// Pause between two attempts to take a lock.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Number of attempts to take a lock: 250 × 20 ms = 5 s. A writer that was just killed needs some
/// time until its lock is released.
const MAX_ATTEMPTS: u32 = 250;

/// The holder of the logdir's lock at the time when a process starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockedBy {
    /// No process holds the lock, so this process takes it.
    #[default]
    Nobody,
    /// The parent process holds the lock, and shares it with this process.
    Parent,
}

/// The reason why a process does not get the lock on a logdir.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process has locked the logdir.
    #[error(
        "another process is writing to {}: stop that process first, even if it is paused, or \
         choose another --logdir", logdir.display()
    )]
    InUse {
        /// The locked logdir.
        logdir: PathBuf,
    },
}

/// The lock on a logdir. The lock is held as long as this value or a copy of its file descriptor
/// exists.
#[derive(Debug)]
pub struct LogdirLock(File);

impl LogdirLock {
    /// Takes the lock on an existing logdir. If the file system has no locks, returns a warning
    /// instead of a lock.
    ///
    /// # Errors
    /// If another process holds the lock and does not release the lock within five seconds.
    pub fn take(logdir: &Path) -> Result<(Option<Self>, Option<String>), LockError> {
        let dir = open(logdir)?;
        match attempt(&dir) {
            Ok(()) => Ok((Some(Self(dir)), None)),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse { logdir: logdir.to_owned() }),
            // Some file systems have no locks. The user gets a warning, and the run continues.
            Err(TryLockError::Error(why)) => {
                let warning = format!(
                    "cannot lock {}: {why}; nothing prevents a second chief from writing there",
                    logdir.display()
                );
                Ok((None, Some(warning)))
            }
        }
    }

    /// Opens a logdir whose lock the parent process holds and shares with this process. Takes the
    /// lock if no process holds the lock.
    ///
    /// # Errors
    /// If the folder cannot be opened.
    pub(crate) fn of_parent(logdir: &Path) -> Result<Self, LockError> {
        let dir = open(logdir)?;
        // If the parent holds the lock, as it should, this attempt fails, which does no harm. If no
        // process holds the lock, this process takes it.
        let _ = dir.try_lock();
        Ok(Self(dir))
    }

    /// Returns the locked folder.
    pub(super) const fn folder(&self) -> &File {
        &self.0
    }

    /// Returns a copy of the file descriptor. A child process that inherits this copy shares the
    /// lock.
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

/// Takes the lock on an open file. If the file system has no locks, succeeds without a lock.
pub(super) fn take_file(file: &File) -> io::Result<()> {
    match attempt(file) {
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(ErrorKind::ResourceBusy, "another process is writing it"))
        }
        // A file system without locks must not prevent the run.
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
