//! A file that grows by whole lines. If a crash has torn the last line, the next open cuts this
//! line off.
//!
//! When [`Lines::write`] returns, the operating system has the bytes, so they survive the end of
//! the process. After [`Lines::sync`] they also survive a loss of power.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::interface::{Appender, Disk, DiskError, Stamp};
use super::real_disk::RealDisk;

/// Number of bytes to read from the end of a file to find its last whole line. The longest line of
/// a ledger, an update of 4,096 slots, takes less than 600 KiB.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Maximum number of bytes of an invalid line that an error quotes.
pub const MAX_SHOWN: usize = 80;

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
    /// The folder contains no file of the wanted kind.
    #[error("there is no {wanted} in {}: {remedy}", folder.display())]
    NoFile {
        /// The folder.
        folder: PathBuf,
        /// Form of the file names.
        wanted: &'static str,
        /// Remedy for the user.
        remedy: &'static str,
    },
    /// A line is not valid.
    #[error("{}:{line}: {wrong}", path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Problem of the line, with a remedy.
        wrong: String,
    },
}

/// Returns the files of a folder whose names `parse` accepts, sorted by the parsed value. `wanted` is
/// the form of these names, for the error if there is no such file, and `remedy` is its remedy.
///
/// # Errors
/// Returns an error if the folder does not exist, cannot be read, or contains no such file.
pub fn find<T: Ord>(
    folder: &Path,
    parse: impl Fn(&str) -> Option<T>,
    wanted: &'static str,
    remedy: &'static str,
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
    if found.is_empty() {
        return Err(ReadError::NoFile { folder: folder.to_owned(), wanted, remedy });
    }
    found.sort();
    Ok(found)
}

/// Returns the beginning of an invalid line, as an error quotes it.
#[must_use]
pub fn beginning(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(MAX_SHOWN)]).into_owned()
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
    /// Number of bytes in the whole lines of the file.
    len: u64,
    /// Whole lines that are not in the file yet.
    unwritten: Vec<u8>,
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
        let lines = Self { path, end, len: len.saturating_sub(n_torn), unwritten: Vec::new() };
        if n_torn > 0 {
            lines.cut()?;
        }
        Ok(lines)
    }

    /// Returns the number of bytes in whole lines, including lines that are not written yet.
    #[must_use]
    pub const fn n_bytes(&self) -> u64 {
        self.len + self.n_unwritten() as u64
    }

    /// Returns the number of bytes in lines that are not written yet.
    #[must_use]
    pub const fn n_unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Adds a value as a line of JSON. The next [`Self::write`] writes the line.
    ///
    /// # Panics
    /// If the value cannot be JSON.
    pub fn push(&mut self, line: &impl Serialize) {
        serde_json::to_writer(&mut self.unwritten, line).expect("the value is JSON");
        self.unwritten.push(b'\n');
    }

    /// Appends all added lines to the file, with one write.
    ///
    /// # Errors
    /// Returns an error if the operating system refuses the write. The function then tries to cut off
    /// a partly written line. After an error, the caller must write nothing more, because lines would
    /// be missing in the middle of the file.
    pub fn write(&mut self) -> Result<(), DiskError> {
        let (n_bytes, result) = (self.unwritten.len() as u64, self.end.append(&self.unwritten));
        self.unwritten.clear();
        if let Err(error) = result {
            // If the partly written line cannot be cut off, readers still ignore it as a torn line.
            let _ = self.cut();
            return Err(DiskError::at("append to", &self.path)(error));
        }
        self.len += n_bytes;
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

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;

    use super::*;
    use crate::disk::test_disk::{Bug, Fault, TestDisk};

    const LOGDIR: &str = "/logdir";
    const PATH: &str = "/logdir/lines.jsonl";

    fn line(step: u64) -> String {
        format!("update of step {step}")
    }

    fn open(disk: &Arc<TestDisk>) -> Lines {
        Lines::open(disk, Path::new(LOGDIR), "lines.jsonl").unwrap()
    }

    fn append(file: &mut Lines, steps: Range<u64>) -> Result<(), DiskError> {
        steps.for_each(|step| file.push(&line(step)));
        file.write()
    }

    fn text(disk: &Arc<TestDisk>) -> String {
        let bytes = disk.read(Path::new(PATH)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn text_of(steps: Range<u64>) -> String {
        steps.map(|step| format!("{:?}\n", line(step))).collect()
    }

    #[test]
    fn lines_are_appended_across_restarts() {
        let disk = TestDisk::new(Bug::None, None);
        append(&mut open(&disk), 0..2).unwrap();
        append(&mut open(&disk), 2..3).unwrap();
        assert_eq!(text(&disk), text_of(0..3));
    }

    #[test]
    fn torn_last_line_is_cut_off_wherever_it_was_torn() {
        let whole = text_of(0..2);
        let first = text_of(0..1).len();
        for torn_at in first..whole.len() {
            let disk = TestDisk::new(Bug::None, None);
            open(&disk);
            let path = Path::new(PATH);
            disk.append(path, &whole.as_bytes()[..torn_at]).unwrap();
            append(&mut open(&disk), 1..2).unwrap();
            assert_eq!(text(&disk), whole, "torn at {torn_at}");
        }
    }

    #[test]
    fn torn_line_longer_than_any_valid_line_is_cut_off() {
        let disk = TestDisk::new(Bug::None, None);
        append(&mut open(&disk), 0..1).unwrap();
        let damage = vec![0; (1 << 20) + 7];
        disk.append(Path::new(PATH), &damage).unwrap();
        append(&mut open(&disk), 1..2).unwrap();
        assert_eq!(text(&disk), text_of(0..2));
    }

    #[test]
    fn partial_line_on_a_full_disk_is_removed() {
        let disk = TestDisk::new(Bug::None, None);
        let mut log = open(&disk);
        append(&mut log, 0..1).unwrap();
        disk.plan(Some((0, Fault::FailOnce)));
        let error = append(&mut log, 1..2).unwrap_err().to_string();
        assert!(error.contains("append to /logdir/lines.jsonl"), "{error}");
        assert_eq!(text(&disk), text_of(0..1));
    }

    #[test]
    fn synced_lines_survive_a_power_loss() {
        let disk = TestDisk::new(Bug::None, None);
        let mut log = open(&disk);
        append(&mut log, 0..1).unwrap();
        log.sync().unwrap();
        append(&mut log, 1..2).unwrap();
        for after in disk.after_a_crash() {
            let text = text(&after);
            assert!(text.starts_with(&text_of(0..1)), "{text}");
            open(&after);
            let bytes = after.read(Path::new(PATH)).unwrap();
            assert!(bytes.ends_with(b"\n"));
        }
    }
}
