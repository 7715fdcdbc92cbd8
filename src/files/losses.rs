//! `losses.csv`: the loss of every gradient that an update used, in order.
//!
//! When [`LossLog::append`] succeeds, the operating system has the rows. The rows are durable after
//! a sync of the file at [`LossLog::path`]. The log keeps rows in memory only while the disk
//! refuses to write them.

pub mod error;
mod first;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzzing/losses.rs"]
pub mod fuzzing;
mod kept;
mod rebuild;
mod rows;
mod survey;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use first::FirstLosses;
use kept::KeptText;
pub use rebuild::{FindLosses, LossesState, Rebuilt};
pub use rows::format_loss;
use survey::Survey;

use crate::disk::{Disk, DiskError, Publication, RealDisk, Stamp};
use crate::losses::error::{Damage, Harm, LOSSES_FILE, LossesError, LossesNotice};
use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::UpdateRecord;

/// Maximum length of the rows that are kept in memory while the disk refuses to write, in bytes. 16
/// MiB suffice for some 400,000 updates of two slots.
///
/// If the disk refuses for longer, the run loses rows, and must resume from a checkpoint.
const MAX_PENDING_BYTES: usize = 16 << 20;

/// A losses file to which a run appends. The rows ascend by step.
#[derive(Debug)]
pub struct LossLog {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Inode number of the file; `None` until the first write creates the file.
    file: Option<u64>,
    /// Length of the header and the whole rows, in bytes. The file may have more bytes after the
    /// rows, for example from a failed write.
    len: u64,
    is_torn: bool,
    /// Expected content of the first `len` bytes.
    kept: KeptText,
    /// Whether a sync or a replacement of the file has failed. The disk may then lack rows,
    /// although readers still see the rows and the next sync would report success. All rows must
    /// therefore be written again, to another file.
    is_unsound: bool,
    /// Every update below this step has its rows in the file or in `pending`.
    complete_below: Step,
    notice: Option<LossesNotice>,
    /// Every row in the file has a step below this step.
    file_next: Step,
    /// First step whose rows must be cut off the file before the next write; `None` if no rows must
    /// be cut off.
    rewind_to: Option<Step>,
    /// Rows that the disk has not accepted so far, ascending by step.
    pending: Vec<(Step, String)>,
    dropped_from: Option<Step>,
    /// The losses that recomputed updates must have; `None` if a recomputed update may have other
    /// losses. See [`Self::expect_the_same`].
    first: Option<FirstLosses>,
}

impl LossLog {
    /// Reads the losses file at `path`, and does not change the file. Each update of this run has
    /// `n_losses` rows.
    ///
    /// The first write creates a missing file. The first write also cuts off a last line that a
    /// crash has torn, and everything from the first damaged line on. If a line is damaged, the
    /// function also returns the damage.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a losses file.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        n_losses: usize,
    ) -> Result<(Self, Option<Damage>), LossesError> {
        let found = rebuild::read(&*disk, path)?;
        let bytes = found.as_deref().unwrap_or_default();
        let survey = found.as_ref().map_or_else(Survey::default, |all| Survey::of(all, n_losses));
        let whole = usize::try_from(survey.len).unwrap_or(usize::MAX).min(bytes.len());
        let mut log = Self {
            disk,
            path: path.to_owned(),
            file: None,
            len: survey.len,
            is_torn: whole < bytes.len(),
            kept: KeptText::of(&bytes[..whole]),
            is_unsound: false,
            complete_below: survey.complete_below,
            notice: None,
            file_next: survey.next,
            rewind_to: None,
            pending: Vec::new(),
            dropped_from: None,
            first: None,
        };
        if found.is_some() {
            log.file = Some(log.stamp()?.file);
        }
        let n_bytes = bytes.len() - whole;
        let damage =
            survey.damaged_line.map(|line| Damage { path: path.to_owned(), line, n_bytes });
        Ok((log, damage))
    }

    /// Requires every later recomputed update to have the same losses as in its first computation.
    ///
    /// Call this function only if the rows of the file belong to this run, and if an update is a
    /// pure function of its step (R ≥ N).
    pub(crate) fn expect_the_same(&mut self) {
        self.first.get_or_insert_default();
    }

    /// Returns whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file_next == Step(0) && self.pending.is_empty()
    }

    /// Returns the step below which every update has all its rows, according to the memory of this
    /// process. The function does not read the file.
    pub(crate) const fn complete_below(&self) -> Step {
        self.complete_below
    }

    /// Returns the latest notice for the user, and forgets it.
    pub(crate) const fn take_notice(&mut self) -> Option<LossesNotice> {
        self.notice.take()
    }

    /// Appends the rows of an update with one write.
    ///
    /// First removes existing rows of this step and of later steps, which are from before a
    /// rollback. If another program has damaged the file, the function first rewrites the file.
    ///
    /// # Errors
    /// After [`LossesError::NotRepeated`], the run must not continue. After
    /// [`LossesError::Dropped`], the rows are lost. After any other error, the rows are kept in
    /// memory, and the next call retries the write, so a warning to the user is enough.
    pub fn append(&mut self, update: &UpdateRecord) -> Result<(), LossesError> {
        self.forget_from(update.cut.step);
        // The old rows are removed before the comparison, because `cut_from` moves them to `first`.
        let cut = self.rewind_to.map_or(Ok(()), |step| self.cut_from(step));
        if let Some(first) = &mut self.first {
            first.compare(update)?;
        }
        let rows = rows::encode(update);
        let n_pending: usize = self.pending.iter().map(|(_, rows)| rows.len()).sum();
        if self.dropped_from.is_none() && n_pending + rows.len() > MAX_PENDING_BYTES {
            self.dropped_from = Some(update.cut.step);
        }
        // If an update was dropped, later updates are dropped too, because the file must not have a
        // gap.
        if self.dropped_from.is_none() {
            self.note_step(update.cut.step);
            self.pending.push((update.cut.step, rows));
        }
        // An error of `cut_from` is returned only here, after the new rows were added to `pending`,
        // so that a later call writes them.
        cut.and_then(|()| self.flush())
    }

    /// Writes the rows that are kept in memory. If another program has damaged the file, rewrites
    /// the whole file.
    ///
    /// # Errors
    /// If the operating system still refuses to write the rows, or if rows had to be dropped.
    pub fn flush(&mut self) -> Result<(), LossesError> {
        let harm = self.harm()?;
        self.flush_after(harm)
    }

    /// Compares the file's first and last row with the expected rows, and then does the same as
    /// [`Self::flush`]. A difference counts as damage.
    ///
    /// # Errors
    /// As for [`Self::flush`].
    pub fn flush_closely(&mut self) -> Result<(), LossesError> {
        let harm = match self.harm()? {
            None => self.harm_of_rows()?,
            harm => harm,
        };
        self.flush_after(harm)
    }

    /// If another program has damaged the file, rewrites the whole file.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub(crate) fn make_whole_again(&mut self) -> Result<(), LossesError> {
        if self.file.is_none() {
            return Ok(()); // The first row creates it.
        }
        let harm = self.harm()?;
        self.make_whole(harm)
    }

    fn flush_after(&mut self, harm: Option<Harm>) -> Result<(), LossesError> {
        self.make_whole(harm)?;
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

    /// Records that a sync of the file has failed.
    ///
    /// The operating system may have dropped the bytes that it could not write, and the next sync
    /// would report success. The next flush therefore writes all rows again, to another file.
    pub fn sync_failed(&mut self) {
        self.is_unsound = true;
    }

    /// Returns the path of the file. A sync of this file makes all flushed rows durable.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Updates `complete_below`. If there is a gap before `step`, sets a notice for the user.
    fn note_step(&mut self, step: Step) {
        let next = self.pending.last().map_or(self.file_next, |(last, _)| last.next());
        if step > next {
            let (from, to) = (next, Step(step.0 - 1));
            let path = &self.path;
            self.notice.get_or_insert_with(|| LossesNotice::Gap { path: path.clone(), from, to });
        }
        if step == self.complete_below {
            self.complete_below = step.next();
        }
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
        self.complete_below = self.complete_below.min(step);
    }

    fn stamp(&self) -> Result<Stamp, DiskError> {
        self.disk.stamp(&self.path).map_err(DiskError::at("find", &self.path))
    }

    /// Returns the damage that another program did to the file, as far as the file's inode and
    /// length show it.
    fn harm(&self) -> Result<Option<Harm>, DiskError> {
        // A file that will be rewritten anyway is not checked.
        let Some(file) = self.file.filter(|_| !self.is_unsound) else { return Ok(None) };
        let stamp = match self.stamp() {
            Err(error) if error.source.kind() == ErrorKind::NotFound => {
                return Ok(Some(Harm::Removed));
            }
            stamp => stamp?,
        };
        Ok(if stamp.file != file {
            Some(Harm::Replaced)
        } else if stamp.len < self.len {
            Some(Harm::Cut { from: self.len, to: stamp.len })
        } else {
            // Bytes that a failed write left after the rows do not count as damage.
            (stamp.len > self.len && !self.is_torn).then_some(Harm::Changed)
        })
    }

    /// Compares the file's first and last row with the expected rows. Returns the damage if a row
    /// differs.
    fn harm_of_rows(&self) -> Result<Option<Harm>, DiskError> {
        if self.file.is_none() || self.is_torn || self.is_unsound {
            return Ok(None);
        }
        let KeptText { start, end, .. } = &self.kept;
        let unreadable = || DiskError::at("read", &self.path);
        let found = self.disk.read_start(&self.path, start.len() as u64).map_err(unreadable())?;
        let (_, last) = self.disk.read_end(&self.path, end.len() as u64).map_err(unreadable())?;
        Ok((found != *start || last != *end).then_some(Harm::Changed))
    }

    /// Creates a missing file. Rewrites the file if the file is damaged or a sync of the file has
    /// failed.
    fn make_whole(&mut self, harm: Option<Harm>) -> Result<(), LossesError> {
        if self.file.is_none() {
            return Ok(self.publish(rows::HEADER.as_bytes().to_vec())?);
        }
        if harm.is_none() && !self.is_unsound {
            return Ok(());
        }
        let text = match (self.kept.whole(), harm) {
            (Some(whole), _) => whole.to_vec(),
            (None, Some(harm)) => {
                return Err(LossesError::Lost { path: self.path.clone(), harm });
            }
            // After a failed sync, rows may be missing on the disk itself. The system's cache still
            // has them, so reading the file returns all rows.
            (None, None) => self.read_whole()?,
        };
        self.publish(text)?;
        let harm = harm.unwrap_or(Harm::NotSynced);
        self.notice = Some(LossesNotice::WrittenAgain { path: self.path.clone(), harm });
        Ok(())
    }

    /// Returns the header and the whole rows of the file.
    fn read_whole(&self) -> Result<Vec<u8>, DiskError> {
        let mut bytes = self.disk.read(&self.path).map_err(DiskError::at("read", &self.path))?;
        bytes.truncate(usize::try_from(self.len).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    /// Replaces the file atomically by a file with this text. Readers see the complete old file or
    /// the complete new file, and never a part of the header or of the rows.
    fn publish(&mut self, text: Vec<u8>) -> Result<(), DiskError> {
        // If the publication fails half-way, the name may already refer to the new file.
        self.is_unsound = self.file.is_some();
        let dir = self.path.parent().unwrap_or_else(|| Path::new(""));
        let of = Publication { dir, name: LOSSES_FILE, writer: "new", bytes: &text };
        of.publish(&*self.disk)?;
        self.file = Some(self.stamp()?.file);
        self.len = text.len() as u64;
        self.is_torn = false;
        self.is_unsound = false;
        self.kept.cut_to(&text);
        Ok(())
    }

    /// Forgets the rows of `step` and of later steps. The next flush cuts these rows off the file.
    fn cut_from(&mut self, step: Step) -> Result<(), LossesError> {
        if let (None, Some(harm)) = (self.kept.whole(), self.harm()?) {
            return Err(LossesError::Lost { path: self.path.clone(), harm });
        }
        let read;
        let bytes = match self.kept.whole() {
            Some(whole) => whole,
            None => {
                read = self.read_whole()?;
                &read
            }
        };
        let line = rows::lines(bytes)
            .find(|line| rows::decode(&bytes[line.range.clone()]).is_some_and(|row| row.0 >= step));
        if let Some(line) = line {
            let at = line.range.start;
            if let Some(first) = &mut self.first {
                first.cut(rows::all(&bytes[at..]));
            }
            // `cut_torn` truncates the file to `len`. If the truncation fails, the next flush
            // retries it.
            let left = bytes[..at].to_vec();
            self.kept.cut_to(&left);
            self.len = at as u64;
            self.is_torn = true;
        }
        self.rewind_to = None;
        self.file_next = self.file_next.min(step);
        Ok(())
    }

    fn cut_torn(&mut self) -> Result<(), LossesError> {
        if self.is_torn {
            self.disk
                .truncate(&self.path, self.len)
                .map_err(DiskError::at("truncate", &self.path))?;
            self.is_torn = false;
        }
        Ok(())
    }

    fn write_pending(&mut self) -> Result<(), LossesError> {
        let rows: String = self.pending.iter().map(|(_, rows)| rows.as_str()).collect();
        let result = self.disk.append(&self.path, rows.as_bytes());
        self.is_torn = result.is_err();
        result.map_err(DiskError::at("append to", &self.path))?;
        self.len += rows.len() as u64;
        self.kept.append(rows.as_bytes());
        self.pending.clear();
        Ok(())
    }
}

/// Reads a whole losses file.
///
/// # Errors
/// If the file cannot be read, or a line is not a whole row. For a line, the error contains the
/// line number.
pub fn read(path: &Path) -> Result<Vec<(Step, Slot, f32)>, LossesError> {
    read_from(&RealDisk, path)
}

/// Reads a whole losses file from any disk.
///
/// # Errors
/// As for [`read`].
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
