//! A file that grows by whole lines. If a crash has torn the last line, the next open cuts this
//! line off.
//!
//! When [`Lines::append`] returns, the operating system has the bytes, so they survive the end of
//! the process. After [`Lines::sync`] they also survive a loss of power.

use std::io;
use std::path::{Path, PathBuf};

use super::interface::{Appender, Disk, DiskError, Stamp};
use super::real_disk::RealDisk;

/// Number of bytes to read from the end of a file to find its last whole line. The longest line of
/// a ledger, an update of 4,096 slots, takes less than 600 KiB.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// The reason why a folder cannot be searched for files, or a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The folder does not exist.
    #[error("there is no folder {}: give the logdir of a run", .0.display())]
    None(PathBuf),
    /// The operating system refused to read the folder or the file.
    #[error("cannot read {}: {source}; make it readable for this user", path.display())]
    Unreadable {
        /// The folder or the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}

/// Returns the files of a folder whose names `parse` accepts, sorted by the parsed value.
///
/// # Errors
/// If the folder does not exist, or cannot be read.
pub fn find<T: Ord>(
    folder: &Path,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<(T, PathBuf)>, ReadError> {
    if !folder.is_dir() {
        return Err(ReadError::None(folder.to_owned()));
    }
    let unreadable = |source| ReadError::Unreadable { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let parsed = path.file_name().and_then(|name| parse(name.to_str()?));
        found.extend(parsed.map(|parsed| (parsed, path)));
    }
    found.sort();
    Ok(found)
}

/// Returns the content of a regular file.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    RealDisk.read(path).map_err(|source| ReadError::Unreadable { path: path.to_owned(), source })
}

/// Returns the whole lines within the last MiB of a file, last line first, without their line ends.
///
/// Returns no lines if the file cannot be read or is not a regular file. Only regular files are
/// opened, because opening a pipe, for example, would block.
pub fn last_lines(path: &Path) -> Vec<Vec<u8>> {
    let is_regular = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let end = is_regular.then(|| RealDisk.read_end(path, MAX_LINE_BYTES).ok()).flatten();
    let Some((len, end)) = end else { return Vec::new() };
    // The first piece may be the end of a longer line, unless the whole file was read. The last
    // piece is empty or a torn line.
    let n_cut = usize::from(len > end.len() as u64);
    let mut lines: Vec<_> = end.split(|byte| *byte == b'\n').skip(n_cut).collect();
    lines.pop();
    lines.into_iter().rev().map(<[u8]>::to_vec).collect()
}

/// A file that grows by whole lines.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    end: Box<dyn Appender>,
    /// Number of bytes in whole lines.
    len: u64,
}

impl Lines {
    /// Opens a file of a logdir for appending, or creates the file. If a crash has torn the last
    /// line, the line is cut off.
    ///
    /// # Errors
    /// If the operating system refuses an operation, or another process is writing the file. The
    /// content of the file is then unchanged.
    pub fn open(disk: &dyn Disk, logdir: &Path, name: &str) -> Result<Self, DiskError> {
        let path = logdir.join(name);
        disk.create_dir(logdir).map_err(DiskError::at("create the logdir", logdir))?;
        // The file is opened before its end is read, because opening takes the lock. Without the
        // lock, an incomplete last line could be one that another process is still writing.
        let end = disk.open_end(&path).map_err(DiskError::at("open", &path))?;
        let (len, last) =
            disk.read_end(&path, MAX_LINE_BYTES).map_err(DiskError::at("read", &path))?;
        if len == 0 {
            disk.sync_dir(logdir).map_err(DiskError::at("sync the directory", logdir))?;
        }
        // If the part that was read has no line end, the whole file must be read, because damage
        // can be longer than any line.
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

    /// Returns the number of bytes in whole lines.
    #[must_use]
    pub const fn n_bytes(&self) -> u64 {
        self.len
    }

    /// Appends whole lines with one write.
    ///
    /// # Errors
    /// If the operating system refuses the write. The function then tries to cut off a partly
    /// written line. After an error, the caller must not append again, because the lines that were
    /// not written would be missing in the middle of the file.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), DiskError> {
        if let Err(error) = self.end.write_all(lines) {
            // If the partly written line cannot be cut off, readers still ignore it as a torn line.
            let _ = self.cut();
            return Err(DiskError::at("append to", &self.path)(error));
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Makes all appended lines durable.
    ///
    /// # Errors
    /// If the operating system refuses the sync, or if another program moved, removed, replaced or
    /// changed the file, because readers would not find the appended lines.
    ///
    /// After a failed sync, the caller must not append again, because a second sync could report
    /// success although lines are lost.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.end.sync().map_err(DiskError::at("sync", &self.path))?;
        let stamp = self.end.stamp().map_err(DiskError::at("find", &self.path))?;
        if stamp.len == self.len {
            return Ok(());
        }
        let Stamp { len, .. } = stamp;
        let why = format!("it has {len} bytes, but {} were written", self.len);
        Err(DiskError::at("continue writing", &self.path)(io::Error::other(why)))
    }

    fn cut(&self) -> Result<(), DiskError> {
        self.end.truncate(self.len).map_err(DiskError::at("truncate", &self.path))
    }
}
