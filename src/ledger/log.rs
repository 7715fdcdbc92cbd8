//! Appends lines to the file of a ledger.
//!
//! A line is with the operating system when [`Log::append`] is back: whoever kills the process
//! loses none. [`Log::sync`] makes them outlive the machine's power, too.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::line::Line;
use crate::checkpoint::disk::{Disk, DiskError};

/// How much of a file's end is read to find that of its last whole line: an update of 4,096 slots,
/// the most there are, takes less than 600 KiB.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// A ledger that grows.
pub struct Log {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    end: Box<dyn Write + Send>,
    /// The bytes that are whole lines.
    len: u64,
    /// Room for the text of lines, used again and again.
    text: Vec<u8>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, len, .. } = self;
        f.debug_struct("Log").field("path", path).field("len", len).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the file of a ps in a logdir, or makes it. A last line that a crash tore is cut off.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn open(disk: Arc<dyn Disk>, logdir: &Path, ps: u32) -> Result<Self, DiskError> {
        let path = logdir.join(super::file_name(ps));
        disk.create_dir(logdir).map_err(DiskError::at("make the logdir", logdir))?;
        let (len, end) = match disk.read_end(&path, MAX_LINE_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                disk.write(&path, b"").map_err(DiskError::at("write", &path))?;
                disk.sync_dir(logdir).map_err(DiskError::at("sync the directory", logdir))?;
                (0, Vec::new())
            }
            end => end.map_err(DiskError::at("read", &path))?,
        };
        // Damage can be of any length.
        let end = if end.contains(&b'\n') || len <= MAX_LINE_BYTES {
            end
        } else {
            disk.read(&path).map_err(DiskError::at("read", &path))?
        };
        let n_torn = end.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
        let end = disk.open_end(&path).map_err(DiskError::at("open", &path))?;
        let log = Self { disk, path, end, len: len.saturating_sub(n_torn), text: Vec::new() };
        if n_torn > 0 {
            log.cut()?;
        }
        Ok(log)
    }

    /// Appends lines with one write.
    ///
    /// # Errors
    /// If the operating system refuses. What it took of them is cut off again, as far as it lets;
    /// nothing may be appended after that, or the ledger would have a hole.
    pub fn append(&mut self, lines: &[Line]) -> Result<(), DiskError> {
        self.text.clear();
        for line in lines {
            line.write_to(&mut self.text);
            self.text.push(b'\n');
        }
        if let Err(error) = self.end.write_all(&self.text) {
            // A reader ignores a torn last line, so that this is for tidiness alone.
            let _ = self.cut();
            return Err(DiskError::at("append to", &self.path)(error));
        }
        self.len += self.text.len() as u64;
        Ok(())
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.disk.sync(&self.path).map_err(DiskError::at("sync", &self.path))
    }

    fn cut(&self) -> Result<(), DiskError> {
        self.disk.truncate(&self.path, self.len).map_err(DiskError::at("truncate", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::update;
    use super::*;
    use crate::checkpoint::test_disk::{Bug, Fault, TestDisk};

    fn line(step: u64) -> Line {
        Line::Update(update(step))
    }

    fn open(disk: &Arc<TestDisk>) -> Log {
        Log::open(Arc::new(disk.clone()), Path::new("/logdir"), 1).unwrap()
    }

    fn text(disk: &Arc<TestDisk>) -> String {
        let bytes = disk.read(Path::new("/logdir/ledger-ps1.jsonl")).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn text_of(steps: std::ops::Range<u64>) -> String {
        steps.map(|step| line(step).to_text() + "\n").collect()
    }

    #[test]
    fn lines_are_appended_over_several_lives() {
        let disk = TestDisk::new(Bug::None, None);
        open(&disk).append(&[line(0), line(1)]).unwrap();
        open(&disk).append(&[line(2)]).unwrap();
        assert_eq!(text(&disk), text_of(0..3));
    }

    #[test]
    fn a_torn_last_line_is_cut_off_wherever_it_was_torn() {
        let whole = text_of(0..2);
        let first = text_of(0..1).len();
        for torn_at in first..whole.len() {
            let disk = TestDisk::new(Bug::None, None);
            open(&disk);
            let path = Path::new("/logdir/ledger-ps1.jsonl");
            disk.append(path, &whole.as_bytes()[..torn_at]).unwrap();
            open(&disk).append(&[line(1)]).unwrap();
            assert_eq!(text(&disk), whole, "torn at {torn_at}");
        }
    }

    #[test]
    fn a_torn_line_that_is_longer_than_any_is_cut_off_too() {
        let disk = TestDisk::new(Bug::None, None);
        open(&disk).append(&[line(0)]).unwrap();
        let damage = vec![0; usize::try_from(MAX_LINE_BYTES).unwrap() + 7];
        disk.append(Path::new("/logdir/ledger-ps1.jsonl"), &damage).unwrap();
        open(&disk).append(&[line(1)]).unwrap();
        assert_eq!(text(&disk), text_of(0..2));
    }

    #[test]
    fn what_a_full_disk_took_of_a_line_goes_again() {
        let disk = TestDisk::new(Bug::None, None);
        let mut log = open(&disk);
        log.append(&[line(0)]).unwrap();
        disk.plan(Some((0, Fault::FailOnce)));
        let error = log.append(&[line(1)]).unwrap_err().to_string();
        assert!(error.contains("append to /logdir/ledger-ps1.jsonl"), "{error}");
        assert_eq!(text(&disk), text_of(0..1));
    }

    #[test]
    fn what_was_synced_outlives_the_machine() {
        let disk = TestDisk::new(Bug::None, None);
        let mut log = open(&disk);
        log.append(&[line(0)]).unwrap();
        log.sync().unwrap();
        log.append(&[line(1)]).unwrap();
        for after in disk.after_a_crash() {
            let text = text(&after);
            assert!(text.starts_with(&text_of(0..1)), "{text}");
            open(&after);
            let bytes = after.read(Path::new("/logdir/ledger-ps1.jsonl")).unwrap();
            assert!(bytes.ends_with(b"\n"));
        }
    }
}
