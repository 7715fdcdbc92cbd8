//! One writer a logdir: a lock on the folder itself, which leaves no file behind and goes with the
//! process that holds it.
//!
//! The cluster fences an older life of its chief, but no message can keep that life, when it wakes
//! from a pause, from what it was about to write.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::disk::DiskError;
use super::run_files::RunFilesError;

/// Between two attempts.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// For a writer that was killed, or whose parent was, to be gone: 5 s.
const MAX_ATTEMPTS: u32 = 250;

/// The lock on a logdir, held as long as the value lives.
#[derive(Debug)]
pub struct LogdirLock {
    _dir: File,
}

impl LogdirLock {
    /// Takes the lock on a folder that is there, or says why this system has none to give.
    ///
    /// # Errors
    /// If another writer has it and keeps it.
    pub fn take(logdir: &Path) -> Result<(Option<Self>, Option<String>), RunFilesError> {
        if !cfg!(unix) {
            return Ok((None, None)); // Elsewhere a folder cannot be opened.
        }
        let dir = File::open(logdir).map_err(DiskError::at("open the logdir", logdir))?;
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                pause();
            }
            match dir.try_lock() {
                Ok(()) => return Ok((Some(Self { _dir: dir }), None)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(why)) => {
                    let warning = format!(
                        "cannot lock {}: {why}; nothing keeps a second chief from writing there",
                        logdir.display()
                    );
                    return Ok((None, Some(warning)));
                }
            }
        }
        Err(RunFilesError::InUse { logdir: logdir.to_owned() })
    }
}

#[expect(clippy::disallowed_methods, reason = "another process takes real time to end")]
fn pause() {
    thread::sleep(AGAIN_AFTER);
}
