//! Reading what the security of a task is made of, with errors that say which file, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The longest file that is read: a certificate takes 1 KiB, a chain of them a few.
const MAX_BYTES: u64 = 1 << 20;

/// Why the security of a task cannot be set up.
#[derive(Debug, Error)]
pub enum SecurityError {
    /// A file cannot be read.
    #[error("cannot read {flag} {}: {source}; give the path of a file that this user may read", path.display())]
    Unreadable {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in a file is of no use.
    #[error("{flag} {}: {what}", path.display())]
    Unusable {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
}

/// A file that a flag names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) flag: &'static str,
    pub(super) path: &'a Path,
}

impl Named<'_> {
    /// All that is in it.
    pub(super) fn read(self) -> Result<Vec<u8>, SecurityError> {
        let read = || {
            let length = std::fs::metadata(self.path)?.len();
            if length > MAX_BYTES {
                let why = format!("it has {length} bytes, and may have {MAX_BYTES}");
                return Err(io::Error::other(why));
            }
            std::fs::read(self.path)
        };
        read().map_err(|source| SecurityError::Unreadable {
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
