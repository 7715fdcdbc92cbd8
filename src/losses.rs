//! `losses.csv`: the loss of every gradient that went into an update, in order.
//!
//! A row is with the operating system when [`LossLog::append`] is back, and durable when
//! [`LossLog::path`] is synced after that. There is no other buffer, unless the disk refuses.

mod first;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod rows;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use first::First;
pub use rows::format_loss;

use crate::checkpoint::disk::{Disk, DiskError, Publication, RealDisk};
use crate::ids::{Slot, Step};
use crate::planted::{Bug, is_planted};
use crate::protocol::{NotRepeated, UpdateRecord};

/// The file's name within the logdir.
pub const LOSSES_FILE: &str = "losses.csv";

/// How much is held back for a disk that refuses: some 400,000 updates of two slots.
/// A run that has come so far without its disk has to go back to a checkpoint.
const MAX_PENDING_BYTES: usize = 16 << 20;

/// What is wrong with a losses file.
#[derive(Debug, thiserror::Error)]
pub enum LossesError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is not one of ours.
    #[error(
        "{} does not start with `{}`: it is not a losses file; move it away, or choose another \
         --logdir", path.display(), rows::HEADER.trim_end()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A line is not a whole row.
    #[error("{} line {line}: {content:?} is not a whole row of step,slot,loss", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it says, or how that begins.
        content: String,
    },
    /// An update was made a second time, and is another.
    #[error(transparent)]
    NotRepeated(#[from] NotRepeated),
    /// The disk refused for so long that there was no memory left to hold the rows.
    #[error(
        "the losses from step {from} on could not be written to {} and were dropped; start again \
         from the last checkpoint to have them", path.display()
    )]
    Dropped {
        /// The file.
        path: PathBuf,
        /// The first update that is missing.
        from: Step,
    },
}

/// Lines of a losses file that are not rows and were cut off, with all that came after them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged from line {line} on: {n_bytes} bytes were cut off there", path.display())]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The first line that was cut off, from 1.
    pub line: usize,
    /// How much was cut off.
    pub n_bytes: usize,
}

/// A losses file that grows. Its rows ascend by step.
#[derive(Debug)]
pub struct LossLog {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// The bytes that are whole rows; behind them may be what a failed write left.
    len: u64,
    is_torn: bool,
    /// All rows in the file are of steps below.
    file_next: Step,
    /// Rows of this step or later are to be cut off the file first.
    rewind_to: Option<Step>,
    /// What the disk refused so far, ascending.
    pending: Vec<(Step, String)>,
    dropped_from: Option<Step>,
    /// What is made again, if it has to be the same; see [`Self::expect_the_same`].
    first: Option<First>,
}

impl LossLog {
    /// Opens the file or makes it. A last line that a crash tore is cut off; so is everything
    /// from a damaged line on, which is told.
    ///
    /// # Errors
    /// If the operating system refuses, or the file is something else.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<(Self, Option<Damage>), LossesError> {
        let mut log = Self {
            disk,
            path: path.to_owned(),
            len: 0,
            is_torn: false,
            file_next: Step(0),
            rewind_to: None,
            pending: Vec::new(),
            dropped_from: None,
            first: None,
        };
        let bytes = match log.disk.read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(DiskError::at("read", path))?,
        };
        if rows::HEADER.as_bytes().starts_with(&bytes) {
            log.start_file()?;
            return Ok((log, None));
        }
        if !bytes.starts_with(rows::HEADER.as_bytes()) {
            return Err(LossesError::Foreign { path: path.to_owned() });
        }
        let damage = log.take_rows(&bytes);
        if (log.len as usize) < bytes.len() {
            log.is_torn = true;
            log.cut_torn()?;
        }
        Ok((log, damage))
    }

    /// The rows in the file are of this very run, in which an update is what its step makes it:
    /// from now on, whatever is made a second time has to be the same.
    pub fn expect_the_same(&mut self) {
        self.first.get_or_insert_default();
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file_next == Step(0) && self.pending.is_empty()
    }

    /// Appends the rows of an update with one write. Rows of its step or later, from a life
    /// before, go first.
    ///
    /// # Errors
    /// [`LossesError::NotRepeated`]: the run must not go on. Otherwise what kept the rows from being
    /// written; they are held back in memory and tried again with the next call, so that such an
    /// error is worth a word and nothing more.
    pub fn append(&mut self, update: &UpdateRecord) -> Result<(), LossesError> {
        if !is_planted(Bug::LossesNotRewound) {
            self.forget_from(update.step);
        }
        let cut = self.rewind_to.map_or(Ok(()), |step| self.cut_from(step));
        if let Some(first) = &mut self.first {
            first.compare(update)?;
        }
        let rows = rows::encode(update);
        let n_pending: usize = self.pending.iter().map(|(_, rows)| rows.len()).sum();
        if self.dropped_from.is_none() && n_pending + rows.len() > MAX_PENDING_BYTES {
            self.dropped_from = Some(update.step);
        }
        if self.dropped_from.is_none() {
            self.pending.push((update.step, rows));
        }
        cut.and_then(|()| self.flush())
    }

    /// Drops the rows of `step` or later: a run resumes there.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn rewind(&mut self, step: Step) -> Result<(), LossesError> {
        self.forget_from(step);
        self.flush()
    }

    /// Writes what was held back, if anything.
    ///
    /// # Errors
    /// If the operating system still refuses, or rows had to be dropped.
    pub fn flush(&mut self) -> Result<(), LossesError> {
        if let Some(step) = self.rewind_to {
            self.cut_from(step)?;
        }
        self.cut_torn()?;
        if let Some(last) = self.pending.last().map(|(step, _)| *step) {
            self.write_pending()?;
            self.file_next = last.next();
        }
        match self.dropped_from {
            Some(from) => Err(LossesError::Dropped { path: self.path.clone(), from }),
            None => Ok(()),
        }
    }

    /// Writes what was held back, and makes all that was appended durable.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn sync(&mut self) -> Result<(), LossesError> {
        self.flush()?;
        Ok(self.disk.sync(&self.path).map_err(DiskError::at("sync", &self.path))?)
    }

    /// The file. Who syncs it makes all durable that was flushed before.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn forget_from(&mut self, step: Step) {
        let n_kept = self.pending.partition_point(|(pending, _)| *pending < step);
        let cut = self.pending.split_off(n_kept);
        if let Some(first) = &mut self.first {
            first.cut(cut.iter().flat_map(|(_, rows)| rows::all(rows.as_bytes())));
        }
        if step < self.file_next {
            self.rewind_to = Some(self.rewind_to.map_or(step, |earlier| earlier.min(step)));
        }
        self.dropped_from = self.dropped_from.filter(|dropped| *dropped < step);
    }

    fn cut_from(&mut self, step: Step) -> Result<(), LossesError> {
        let bytes = match self.disk.read(&self.path) {
            // Somebody took it away: there is nothing to cut.
            Err(error) if error.kind() == ErrorKind::NotFound => return self.start_file(),
            bytes => bytes.map_err(DiskError::at("read", &self.path))?,
        };
        let whole = usize::try_from(self.len).unwrap_or(usize::MAX).min(bytes.len());
        let line = rows::lines(&bytes[..whole])
            .find(|line| rows::decode(&bytes[line.range.clone()]).is_some_and(|row| row.0 >= step));
        if let Some(line) = line {
            if let Some(first) = &mut self.first {
                first.cut(rows::all(&bytes[line.range.start..whole]));
            }
            // Whatever happens on the way, the file is to end there.
            self.len = line.range.start as u64;
            self.is_torn = true;
            self.cut_torn()?;
        }
        self.rewind_to = None;
        self.file_next = self.file_next.min(step);
        Ok(())
    }

    fn cut_torn(&mut self) -> Result<(), LossesError> {
        if self.is_torn {
            match self.disk.truncate(&self.path, self.len) {
                Err(error) if error.kind() == ErrorKind::NotFound => self.start_file()?,
                result => result.map_err(DiskError::at("truncate", &self.path))?,
            }
            self.is_torn = false;
        }
        Ok(())
    }

    fn write_pending(&mut self) -> Result<(), LossesError> {
        let rows: String = self.pending.iter().map(|(_, rows)| rows.as_str()).collect();
        let mut result = self.disk.append(&self.path, rows.as_bytes());
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            self.start_file()?;
            result = self.disk.append(&self.path, rows.as_bytes());
        }
        self.is_torn = result.is_err();
        result.map_err(DiskError::at("append to", &self.path))?;
        self.len += rows.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Publishes a file without rows, so that there is never one without its header.
    fn start_file(&mut self) -> Result<(), LossesError> {
        let dir = self.path.parent().unwrap_or_else(|| Path::new(""));
        let bytes = rows::HEADER.as_bytes();
        Publication { dir, name: LOSSES_FILE, writer: "new", bytes }.publish(&*self.disk)?;
        self.len = bytes.len() as u64;
        self.is_torn = false;
        self.rewind_to = None;
        self.file_next = Step(0);
        Ok(())
    }

    /// Finds the end of the whole rows in a file that has the header.
    fn take_rows(&mut self, bytes: &[u8]) -> Option<Damage> {
        self.len = rows::HEADER.len() as u64;
        for line in rows::lines(bytes).skip(1) {
            match rows::decode(&bytes[line.range.clone()]).filter(|_| line.is_whole) {
                Some((step, _, _)) => {
                    self.len = line.range.end as u64 + 1;
                    self.file_next = self.file_next.max(step.next());
                }
                // A crash can do that to the last line, and what it was is recorded again.
                None if !line.is_whole => return None,
                None => {
                    let n_bytes = bytes.len() - line.range.start;
                    return Some(Damage { path: self.path.clone(), line: line.number, n_bytes });
                }
            }
        }
        None
    }
}

/// Reads a whole losses file.
///
/// # Errors
/// If it cannot be read, or any line is not a whole row; the error has the line's number.
pub fn read(path: &Path) -> Result<Vec<(Step, Slot, f32)>, LossesError> {
    read_from(&RealDisk, path)
}

/// As [`read`], from any disk.
///
/// # Errors
/// As [`read`].
pub fn read_from(disk: &dyn Disk, path: &Path) -> Result<Vec<(Step, Slot, f32)>, LossesError> {
    let bytes = disk.read(path).map_err(DiskError::at("read", path))?;
    if !bytes.starts_with(rows::HEADER.as_bytes()) {
        return Err(LossesError::Foreign { path: path.to_owned() });
    }
    let row = |line: rows::Line| {
        let content = &bytes[line.range];
        rows::decode(content).filter(|_| line.is_whole).ok_or_else(|| {
            const MAX_SHOWN: usize = 60;
            let shown = &content[..content.len().min(MAX_SHOWN)];
            let content = String::from_utf8_lossy(shown).into_owned();
            LossesError::Row { path: path.to_owned(), line: line.number, content }
        })
    };
    rows::lines(&bytes).skip(1).map(row).collect()
}
