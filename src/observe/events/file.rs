//! Appends events to a file; each incarnation of the chief has its own file.
//!
//! After an error, later events may still be appended, because a file that lacks an event is valid.
//! Readers stop at a torn record, which a failed write may leave. So a torn record is removed
//! before the next record is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::event::{Event, Payload};
use super::record::push_record;
use unisono_core::ids::{Incarnation, Step};
use unisono_files::disk::{Disk, DiskError};

/// Microseconds per second.
const MICROS: u64 = 1_000_000;

/// Prefix of the names of all event files. TensorBoard searches for this prefix.
pub const FILE_PREFIX: &str = "events.out.tfevents.";

/// An event file that grows.
#[derive(Debug)]
pub struct EventFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Length of all complete records, in bytes.
    len: u64,
    /// Whether a failed write may have left a torn record after the complete records.
    is_torn: bool,
    /// Buffer for records, reused to avoid allocations.
    records: Vec<u8>,
}

/// Returns the name of the event file of an incarnation of the chief on the machine `host`. The
/// number of an incarnation is normally its start in microseconds since 1970.
///
/// The name has the form of TensorFlow's names, followed by the microseconds. Readers sort the
/// names, and so read the files in the order of the incarnations.
#[must_use]
pub fn file_name(life: Incarnation, host: &str) -> String {
    let (secs, micros) = (life.0 / MICROS, life.0 % MICROS);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let host: String = host.trim().chars().map(plain).collect();
    format!("{FILE_PREFIX}{secs:010}.{host}.{micros:06}")
}

impl EventFile {
    /// Creates the event file of an incarnation of the chief. The first event is the version of the
    /// file format.
    ///
    /// # Errors
    /// Returns an error if the operating system refuses the operation.
    pub fn create(
        disk: Arc<dyn Disk>,
        logdir: &Path,
        name: &str,
        wall_time: f64,
    ) -> Result<Self, DiskError> {
        let path = logdir.join(name);
        let version = Event { wall_time, step: Step(0), what: Payload::FileVersion };
        let mut records = Vec::new();
        push_record(&version.encode(), &mut records);
        disk.write(&path, &records).map_err(DiskError::at("write", &path))?;
        let len = records.len() as u64;
        Ok(Self { disk, path, len, is_torn: false, records })
    }

    /// Appends events with one write.
    ///
    /// # Errors
    /// Returns an error if the operating system refuses the write. The events then count as not
    /// written, and later events may still be appended.
    pub fn append(&mut self, events: &[Event]) -> Result<(), DiskError> {
        if self.is_torn {
            self.cut()?;
        }
        self.records.clear();
        events.iter().for_each(|event| push_record(&event.encode(), &mut self.records));
        if let Err(error) = self.disk.append(&self.path, &self.records) {
            self.is_torn = true;
            // If `cut` fails, `is_torn` remains set, and the next append first removes the torn
            // record.
            let _ = self.cut();
            return Err(DiskError::at("append to", &self.path)(error));
        }
        self.len += self.records.len() as u64;
        Ok(())
    }

    fn cut(&mut self) -> Result<(), DiskError> {
        self.disk.truncate(&self.path, self.len).map_err(DiskError::at("truncate", &self.path))?;
        self.is_torn = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_files::testing::{Bug, Fault, TestDisk};

    fn event(step: u64) -> Event {
        Event { wall_time: 2.5, step: Step(step), what: Payload::SessionStart }
    }

    fn create(disk: &Arc<TestDisk>) -> EventFile {
        EventFile::create(Arc::new(disk.clone()), Path::new("/logdir"), "events", 1.5).unwrap()
    }

    fn bytes(disk: &Arc<TestDisk>) -> Vec<u8> {
        disk.read(Path::new("/logdir/events")).unwrap()
    }

    #[test]
    fn refused_event_leaves_no_torn_record() {
        let whole = TestDisk::new(Bug::None, None);
        let mut file = create(&whole);
        [1, 3].iter().for_each(|step| file.append(&[event(*step)]).unwrap());

        let disk = TestDisk::new(Bug::None, None);
        let mut file = create(&disk);
        file.append(&[event(1)]).unwrap();
        let len = bytes(&disk).len();
        disk.plan(Some((0, Fault::FailOnce)));
        let error = file.append(&[event(2)]).unwrap_err().to_string();
        assert!(error.contains("append to /logdir/events"), "{error}");
        assert_eq!(bytes(&disk).len(), len, "the torn record is removed at once");
        file.append(&[event(3)]).unwrap();
        assert_eq!(bytes(&disk), bytes(&whole));
    }

    #[test]
    fn torn_record_that_could_not_be_cut_off_is_cut_off_before_the_next_event() {
        let disk = TestDisk::new(Bug::None, None);
        let mut file = create(&disk);
        let len = bytes(&disk).len();
        disk.plan(Some((0, Fault::FailOnce)));
        file.is_torn = true;
        let error = file.append(&[event(1)]).unwrap_err().to_string();
        assert!(error.contains("truncate /logdir/events"), "{error}");
        assert_eq!(bytes(&disk).len(), len);
        file.append(&[event(1)]).unwrap();
        assert!(bytes(&disk).len() > len);
    }

    #[test]
    fn later_incarnations_have_later_file_names_for_any_host() {
        let name = |micros| file_name(Incarnation(micros), "a.host/with\nall\n");
        let names = [999_999, 1_000_000, 1_000_001, 1_700_000_000_000_099, 1_700_000_000_000_100];
        let names = names.map(name);
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(names[3], "events.out.tfevents.1700000000.a.host-with-all.000099");
    }
}
