//! Reads certificates, keys and secrets from files. Errors name the file and a remedy.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use thiserror::Error;

/// The maximum length of a file. A certificate takes 1 KiB, and a chain takes a few KiB.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Time limit for reading a file. The limit matters for pipes and devices, because a regular file
/// is always readable.
const MAX_TIME: Duration = Duration::from_secs(5);

/// The reason for which the credentials of a task cannot be used.
#[derive(Debug, Error)]
pub enum SecurityError {
    /// A file cannot be read.
    #[error("cannot read {flag} {}: {source}; give the path of a file that this user may read", path.display())]
    Unreadable {
        /// The flag that names the file.
        flag: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The content of a file cannot be used.
    #[error("{flag} {}: {what}", path.display())]
    Unusable {
        /// The flag that names the file.
        flag: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The reason and a remedy.
        what: String,
    },
}

/// A file that a flag names.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlagFile<'a> {
    pub(super) flag: &'static str,
    pub(super) path: &'a Path,
}

impl FlagFile<'_> {
    /// Returns the content of the file.
    pub(super) fn read(self) -> Result<Vec<u8>, SecurityError> {
        read(self.path, MAX_TIME).map_err(|source| SecurityError::Unreadable {
            flag: self.flag,
            path: self.path.to_owned(),
            source,
        })
    }

    pub(super) fn unusable(self, what: impl Into<String>) -> SecurityError {
        let (flag, path) = (self.flag, self.path.to_owned());
        SecurityError::Unusable { flag, path, what: what.into() }
    }
}

/// Reads a file of any kind, within limits of time and length.
fn read(path: &Path, time: Duration) -> io::Result<Vec<u8>> {
    // The length in a file's metadata does not limit what can be read: for an endless device it is
    // 0. Without NONBLOCK, opening a FIFO waits for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(open(path, flags, Mode::empty())?);
    let deadline = now() + time;
    let mut bytes = Vec::new();
    let mut part = [0; 4 << 10];
    while bytes.len() <= MAX_BYTES {
        // A regular file is always readable, so only pipes and devices make this wait.
        wait_until_readable(&file, deadline)?;
        match file.read(&mut part) {
            Ok(0) => return Ok(bytes),
            Ok(n_read) => bytes.extend(&part[..n_read]),
            Err(error) if is_temporary(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")))
}

fn wait_until_readable(file: &File, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(now());
    let left = Timespec::try_from(left).expect("a few seconds are representable");
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)).map_err(io::Error::from) {
        Ok(0) => Err(io::Error::other("it did not end in time")),
        Ok(_) => Ok(()),
        // If `poll` was interrupted, the caller may try to read: the read does not block, and the
        // caller then calls this function again, which checks the deadline.
        Err(error) if is_temporary(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

#[expect(clippy::disallowed_methods, reason = "reading a file without an end stops by the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn reading_a_fifo_without_a_writer_times_out() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = read(&path, Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "it did not end in time");
    }
}
