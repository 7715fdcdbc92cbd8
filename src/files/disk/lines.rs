//! A file that grows by whole lines: what a crash tore is cut off when it is opened again.
//!
//! What was appended is with the operating system when [`Lines::append`] is back: whoever kills the
//! process loses none. [`Lines::sync`] makes it outlive the machine's power, too.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::interface::{Appender, Disk, DiskError, Stamp};
use super::real_disk::RealDisk;

/// How much of a file's end is read to find that of its last whole line. Of a ledger, an update of
/// 4,096 slots, the most there are, takes less than 600 KiB.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Why nothing is found in a folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is not even a folder.
    #[error("there is no folder {}: give the logdir of a run", .0.display())]
    None(PathBuf),
    /// The operating system refused.
    #[error("cannot read {}: {source}; make it readable for this user", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The files of a folder whose names say whose they are, ascending by that.
///
/// # Errors
/// If there is no such folder, or it cannot be read.
pub fn find<T: Ord>(
    folder: &Path,
    whose: impl Fn(&str) -> Option<T>,
) -> Result<Vec<(T, PathBuf)>, FolderError> {
    if !folder.is_dir() {
        return Err(FolderError::None(folder.to_owned()));
    }
    let unreadable = |source| FolderError::Unreadable { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let of = path.file_name().and_then(|name| whose(name.to_str()?));
        found.extend(of.map(|of| (of, path)));
    }
    found.sort();
    Ok(found)
}

/// The whole lines at the end of a file, the last one first, without their ends. None if the file
/// cannot be read or is no regular file: a pipe would block whoever opens it.
pub fn last_lines(path: &Path) -> Vec<Vec<u8>> {
    let is_regular = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let end = is_regular.then(|| RealDisk.read_end(path, MAX_LINE_BYTES).ok()).flatten();
    let Some((len, end)) = end else { return Vec::new() };
    // The first part of what was read may be the end of a line, the last part may be torn.
    let n_cut = usize::from(len > end.len() as u64);
    let mut lines: Vec<_> = end.split(|byte| *byte == b'\n').skip(n_cut).collect();
    lines.pop();
    lines.into_iter().rev().map(<[u8]>::to_vec).collect()
}

/// A file that grows.
pub struct Lines {
    path: PathBuf,
    end: Box<dyn Appender>,
    /// The bytes that are whole lines.
    len: u64,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, len, .. } = self;
        f.debug_struct("Lines").field("path", path).field("len", len).finish_non_exhaustive()
    }
}

impl Lines {
    /// Opens a file of a logdir, or makes it. A last line that a crash tore is cut off.
    ///
    /// # Errors
    /// If the operating system refuses, or another process writes the file; then not a byte of the
    /// file is changed.
    pub fn open(disk: &dyn Disk, logdir: &Path, name: &str) -> Result<Self, DiskError> {
        let path = logdir.join(name);
        disk.create_dir(logdir).map_err(DiskError::at("make the logdir", logdir))?;
        // First the lock that comes with it: the last line of another writer is not torn, but
        // being written.
        let end = disk.open_end(&path).map_err(DiskError::at("open", &path))?;
        let (len, last) =
            disk.read_end(&path, MAX_LINE_BYTES).map_err(DiskError::at("read", &path))?;
        if len == 0 {
            disk.sync_dir(logdir).map_err(DiskError::at("sync the directory", logdir))?;
        }
        // Damage can be of any length.
        let last = if last.contains(&b'\n') || len <= MAX_LINE_BYTES {
            last
        } else {
            disk.read(&path).map_err(DiskError::at("read", &path))?
        };
        let n_torn = last.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
        let lines = Self { path, end, len: len.saturating_sub(n_torn) };
        if n_torn > 0 {
            lines.cut()?;
        }
        Ok(lines)
    }

    /// The bytes that it has.
    #[must_use]
    pub const fn n_bytes(&self) -> u64 {
        self.len
    }

    /// Appends whole lines with one write.
    ///
    /// # Errors
    /// If the operating system refuses. What it took of them is cut off again, as far as it lets;
    /// nothing may be appended after that, or the file would have a hole.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), DiskError> {
        if let Err(error) = self.end.write_all(lines) {
            // A reader ignores a torn last line, so that this is for tidiness alone.
            let _ = self.cut();
            return Err(DiskError::at("append to", &self.path)(error));
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// If the operating system refuses; or if the file was moved, removed, replaced or changed by
    /// somebody else, so that a reader would not find what was appended. After a failed sync
    /// nothing may be appended: a second sync could report success though the lines are lost.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.end.sync().map_err(DiskError::at("sync", &self.path))?;
        let stamp = self.end.stamp().map_err(DiskError::at("find", &self.path))?;
        if stamp.len == self.len {
            return Ok(());
        }
        let Stamp { len, .. } = stamp;
        let why = format!("it has {len} bytes, and {} were written", self.len);
        Err(DiskError::at("go on with", &self.path)(io::Error::other(why)))
    }

    fn cut(&self) -> Result<(), DiskError> {
        self.end.truncate(self.len).map_err(DiskError::at("truncate", &self.path))
    }
}
