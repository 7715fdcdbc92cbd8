//! Appends lines to the file of a ledger.
//!
//! When [`Log::append`] has returned, the operating system has the lines, so a kill of the process
//! loses no line. After [`Log::sync`], the lines also survive a loss of power.

use std::path::Path;

use super::line::Line;
use unisono_files::disk::lines::Lines;
use unisono_files::disk::{Disk, DiskError};

/// A ledger file to which lines are appended.
#[derive(Debug)]
pub struct Log {
    file: Lines,
    /// Buffer for the text of lines, reused to avoid allocations.
    text: Vec<u8>,
}

impl Log {
    /// Opens or creates the ledger of a ps in a logdir. Removes a last line that a crash has torn.
    ///
    /// # Errors
    /// Returns an error if the operating system refuses the operation.
    pub fn open(disk: &dyn Disk, logdir: &Path, ps: u32) -> Result<Self, DiskError> {
        let file = Lines::open(disk, logdir, &super::file_name(ps))?;
        Ok(Self { file, text: Vec::new() })
    }

    /// Appends lines with one write.
    ///
    /// # Errors
    /// Returns an error in the same cases as [`Lines::append`]. After an error, the caller must
    /// append nothing more.
    pub fn append(&mut self, lines: &[Line]) -> Result<(), DiskError> {
        self.text.clear();
        for line in lines {
            line.write_to(&mut self.text);
            self.text.push(b'\n');
        }
        self.file.append(&self.text)
    }

    /// Makes all appended lines durable.
    ///
    /// # Errors
    /// Returns an error if the operating system refuses the operation.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::line::tests::update;
    use super::*;
    use unisono_files::testing::{Bug, Fault, TestDisk};

    fn line(step: u64) -> Line {
        Line::Update(update(step))
    }

    fn open(disk: &Arc<TestDisk>) -> Log {
        Log::open(disk, Path::new("/logdir"), 1).unwrap()
    }

    fn text(disk: &Arc<TestDisk>) -> String {
        let bytes = disk.read(Path::new("/logdir/ledger-ps1.jsonl")).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn text_of(steps: std::ops::Range<u64>) -> String {
        steps.map(|step| line(step).to_text() + "\n").collect()
    }

    #[test]
    fn lines_are_appended_across_restarts() {
        let disk = TestDisk::new(Bug::None, None);
        open(&disk).append(&[line(0), line(1)]).unwrap();
        open(&disk).append(&[line(2)]).unwrap();
        assert_eq!(text(&disk), text_of(0..3));
    }

    #[test]
    fn torn_last_line_is_cut_off_wherever_it_was_torn() {
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
    fn torn_line_longer_than_any_valid_line_is_cut_off() {
        let disk = TestDisk::new(Bug::None, None);
        open(&disk).append(&[line(0)]).unwrap();
        let damage = vec![0; (1 << 20) + 7];
        disk.append(Path::new("/logdir/ledger-ps1.jsonl"), &damage).unwrap();
        open(&disk).append(&[line(1)]).unwrap();
        assert_eq!(text(&disk), text_of(0..2));
    }

    #[test]
    fn partial_line_on_a_full_disk_is_removed() {
        let disk = TestDisk::new(Bug::None, None);
        let mut log = open(&disk);
        log.append(&[line(0)]).unwrap();
        disk.plan(Some((0, Fault::FailOnce)));
        let error = log.append(&[line(1)]).unwrap_err().to_string();
        assert!(error.contains("append to /logdir/ledger-ps1.jsonl"), "{error}");
        assert_eq!(text(&disk), text_of(0..1));
    }

    #[test]
    fn synced_lines_survive_a_power_loss() {
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
