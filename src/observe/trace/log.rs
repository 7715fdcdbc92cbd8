//! Appends events to the trace file of a task, through a buffer, up to a maximum size of the file.
//!
//! A trace explains a run but is not needed to verify it. So the log writes lines through a buffer,
//! which costs the loop of the task almost no time, and lines may be lost if the process dies. A
//! ledger, which verifies a run, is written without a buffer.

use std::path::Path;
use std::time::Duration;

use super::file::file_name;
use super::line::{LifeHeader, Line};
use unisono_files::disk::lines::Lines;
use unisono_files::disk::{Disk, DiskError};

/// Maximum size of a trace file in bytes. In a run with three workers, the trace of a ps reaches
/// this size after about 300,000 steps.
pub const LARGEST_TRACE: u64 = 256 << 20;
/// Number of buffered bytes that causes the buffer to be written to the file.
const WRITTEN_AT_ONCE: usize = 64 << 10;
/// Time since the last write after which the next event causes a write. Because of this limit, a
/// crash loses few lines, and a reader of the file can observe a running task.
const WRITTEN_AFTER: Duration = Duration::from_secs(1);

/// The trace file of one incarnation of a task, to which events are appended.
#[derive(Debug)]
pub struct TraceLog {
    file: Lines,
    /// Time of the last write, on the task's clock.
    written: Duration,
    largest: u64,
}

/// The outcome of appending an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The event is in the file, or in the buffer.
    Yes,
    /// The file has reached its maximum size. This event and all later events are dropped.
    Full,
}

impl TraceLog {
    /// Opens or creates the trace of a task in a logdir, for a new incarnation.
    ///
    /// # Errors
    /// Returns an error if the operating system refuses the operation.
    pub fn open(disk: &dyn Disk, logdir: &Path, header: &LifeHeader) -> Result<Self, DiskError> {
        Self::with_limit(disk, logdir, header, LARGEST_TRACE)
    }

    fn with_limit(
        disk: &dyn Disk,
        logdir: &Path,
        header: &LifeHeader,
        largest: u64,
    ) -> Result<Self, DiskError> {
        let file = Lines::open(disk, logdir, &file_name(header.task))?;
        let mut log = Self { file, written: Duration::ZERO, largest };
        log.file.push(&Line::Life(header.clone()));
        log.write()?;
        Ok(log)
    }

    /// Appends an event to the buffer. Writes the buffer to the file if the buffer is full, or if
    /// the last write is too long ago.
    ///
    /// # Errors
    /// Returns an error if the operating system refuses the write. After an error, the caller must
    /// append nothing more.
    pub fn append(&mut self, event: &Line, now: Duration) -> Result<Kept, DiskError> {
        // The size is checked before the event is appended, so that there is always room for the
        // line that ends the trace.
        if self.file.n_bytes() > self.largest {
            let mib = self.largest >> 20;
            self.file.push(&Line::Cut(format!("the file has reached its limit of {mib} MiB")));
            self.write()?;
            return Ok(Kept::Full);
        }
        self.file.push(event);
        if self.file.n_unwritten() >= WRITTEN_AT_ONCE
            || now.saturating_sub(self.written) >= WRITTEN_AFTER
        {
            self.written = now;
            self.write()?;
        }
        Ok(Kept::Yes)
    }

    /// Writes the buffered lines.
    ///
    /// # Errors
    /// Returns an error in the same cases as [`Self::append`].
    pub fn write(&mut self) -> Result<(), DiskError> {
        self.file.write()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::trace::file::parse;
    use crate::trace::{Entry, Event, EventKind, NamedEvent, TracedLife};
    use unisono_core::ids::{Incarnation, Step, TaskId};
    use unisono_files::testing::{Bug, Fault, TestDisk};

    fn header() -> LifeHeader {
        LifeHeader {
            format: 1,
            task: TaskId::ps(1),
            incarnation: Incarnation(7),
            origin: Duration::ZERO,
            n_ps: 2,
            replicas_to_aggregate: 1,
            total_num_replicas: 1,
            training_steps: Step(9),
        }
    }

    fn event(at: Duration) -> Line {
        let what = NamedEvent { kind: EventKind::Updated, step: Some(Step(1)), slot: None };
        Line::Event(Event { at, input: Entry::of(what), does: Vec::new() })
    }

    fn open(disk: &Arc<TestDisk>, largest: u64) -> TraceLog {
        TraceLog::with_limit(disk, Path::new("/logdir"), &header(), largest).unwrap()
    }

    fn read(disk: &Arc<TestDisk>) -> Vec<TracedLife> {
        let path = Path::new("/logdir/trace-ps1.jsonl");
        parse(path, TaskId::ps(1), &disk.read(path).unwrap()).unwrap()
    }

    fn n_events(disk: &Arc<TestDisk>) -> Vec<usize> {
        read(disk).iter().map(|life| life.events.len()).collect()
    }

    #[test]
    fn events_are_buffered_until_there_are_many_or_a_second_has_passed() {
        let disk = TestDisk::new(Bug::None, None);
        let mut log = open(&disk, LARGEST_TRACE);
        let at = Duration::from_millis(999);
        assert_eq!(log.append(&event(at), at).unwrap(), Kept::Yes);
        assert_eq!(n_events(&disk), [0]);
        let at = Duration::from_millis(1000);
        log.append(&event(at), at).unwrap();
        assert_eq!(n_events(&disk), [2]);
        for _ in 0..WRITTEN_AT_ONCE / 10 {
            log.append(&event(at), at).unwrap();
        }
        assert!(n_events(&disk)[0] > 500, "{:?}", n_events(&disk));
        log.write().unwrap();
        assert_eq!(n_events(&disk), [2 + WRITTEN_AT_ONCE / 10]);
    }

    #[test]
    fn incarnations_follow_each_other_in_one_file() {
        let disk = TestDisk::new(Bug::None, None);
        for life in 0..3 {
            let mut log = open(&disk, LARGEST_TRACE);
            for _ in 0..life {
                log.append(&event(Duration::ZERO), Duration::ZERO).unwrap();
            }
            log.write().unwrap();
        }
        assert_eq!(n_events(&disk), [0, 1, 2]);
    }

    #[test]
    fn file_stops_at_its_limit_and_records_that() {
        let disk = TestDisk::new(Bug::None, None);
        let mut log = open(&disk, 2000);
        let mut append = || log.append(&event(Duration::ZERO), Duration::ZERO).unwrap();
        let n_kept = (0..1000).take_while(|_| append() == Kept::Yes).count();
        let [life] = &*read(&disk) else { panic!("one life") };
        assert_eq!(life.events.len(), n_kept);
        assert!((10..60).contains(&n_kept), "{n_kept}");
        assert_eq!(life.cut.as_deref(), Some("the file has reached its limit of 0 MiB"));
    }

    #[test]
    fn disk_error_is_returned() {
        let disk = TestDisk::new(Bug::None, None);
        let mut log = open(&disk, LARGEST_TRACE);
        log.append(&event(Duration::ZERO), Duration::ZERO).unwrap();
        disk.plan(Some((0, Fault::FailOnce)));
        let error = log.write().unwrap_err().to_string();
        assert!(error.contains("append to /logdir/trace-ps1.jsonl"), "{error}");
        assert_eq!(n_events(&disk), [0]);
    }
}
