//! Reads one curve from the event files of a logdir, for `unisono top` and the report.
//!
//! Each read continues where the previous read ended. Like every reader of event files, a read
//! stops at a torn or damaged record. The next read tries this record again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::file::FILE_PREFIX;
use super::proto::{self, Field};
use super::record::{FRAME_BYTES, records};
use unisono_core::ids::Step;

/// Maximum number of bytes that one read takes from a file. Even after hours of training, an event
/// file is smaller.
const MAX_READ_BYTES: u64 = 64 << 20;

/// A curve of scalars by step.
#[derive(Debug)]
pub struct Series {
    logdir: PathBuf,
    tag: &'static str,
    /// Number of bytes that have been read from each file. The order of the file names is the order
    /// of the chief's incarnations.
    read: BTreeMap<String, u64>,
    points: BTreeMap<Step, f32>,
}

impl Series {
    /// Creates the curve of a tag from the event files of a logdir, without reading anything yet.
    #[must_use]
    pub fn new(logdir: &Path, tag: &'static str) -> Self {
        let logdir = logdir.to_owned();
        Self { logdir, tag, read: BTreeMap::new(), points: BTreeMap::new() }
    }

    /// Reads the new records of all files.
    ///
    /// # Errors
    /// Returns an error if the folder or a file cannot be read.
    pub fn read(&mut self) -> io::Result<()> {
        for name in event_files(&self.logdir)? {
            self.read.entry(name).or_default();
        }
        let Self { logdir, tag, read, points } = self;
        for (name, offset) in read {
            let mut file = File::open(logdir.join(name))?;
            file.seek(SeekFrom::Start(*offset))?;
            let mut bytes = Vec::new();
            file.take(MAX_READ_BYTES).read_to_end(&mut bytes)?;
            // `take_records` returns the length of the complete records, so a torn record is read
            // again when it is complete.
            *offset += take_records(&bytes, tag, points);
        }
        Ok(())
    }

    /// Returns the points, ascending by step.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = (Step, f32)> {
        self.points.iter().map(|(step, value)| (*step, *value))
    }
}

/// Returns the names of the event files in a folder, in the order of the chief's incarnations.
///
/// # Errors
/// Returns an error if the folder cannot be read.
pub(super) fn event_files(logdir: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(logdir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Other kinds of files are skipped: opening a FIFO with such a name would block forever.
        if name.starts_with(FILE_PREFIX) && entry.file_type()?.is_file() {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Reads the points of all complete records. Returns the number of bytes in these records.
fn take_records(bytes: &[u8], tag: &str, points: &mut BTreeMap<Step, f32>) -> u64 {
    let take = |event: &[u8]| {
        take_event(event, tag, points);
        (event.len() + FRAME_BYTES) as u64
    };
    records(bytes).map(take).sum()
}

/// Reads the point of an event, if the event has one. The field numbers are those in
/// [`super::event`].
fn take_event(data: &[u8], tag: &str, points: &mut BTreeMap<Step, f32>) {
    let mut step = Step(0);
    for (number, field) in proto::fields(data) {
        match (number, field) {
            (2, Field::Integer(value)) => step = Step(value),
            (5, Field::Bytes(summary)) => {
                if let Some(value) = scalar_of(summary, tag) {
                    points.insert(step, value);
                }
            }
            // A session starts at `step`, so earlier points of this step and of later steps are
            // void.
            (7, Field::Bytes(_)) => drop(points.split_off(&step)),
            _ => {}
        }
    }
}

fn scalar_of(summary: &[u8], tag: &str) -> Option<f32> {
    let mut fields = proto::values_of(summary, tag).flat_map(proto::fields);
    fields.find_map(|(number, field)| match field {
        Field::Float(scalar) if number == 2 => Some(scalar),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::events::file::file_name;
    use crate::events::{Content, Event, EventFile, Payload, Value};
    use unisono_core::ids::Incarnation;
    use unisono_files::disk::RealDisk;

    const TAG: &str = "accuracy/validation";

    fn event(step: u64, what: Payload) -> Event {
        Event { wall_time: 2.5, step: Step(step), what }
    }

    fn summary(step: u64, values: &[(&str, f32)]) -> Event {
        let value = |(tag, value): &(&str, f32)| Value {
            tag: (*tag).to_owned(),
            content: Content::Scalar(*value),
        };
        event(step, Payload::Summary(values.iter().map(value).collect()))
    }

    fn create(logdir: &Path, life: u64) -> EventFile {
        let name = file_name(Incarnation(life), "host");
        EventFile::create(Arc::new(RealDisk), logdir, &name, 1.5).unwrap()
    }

    fn points(series: &mut Series) -> Vec<(u64, f32)> {
        series.read().unwrap();
        series.points().map(|(step, value)| (step.0, value)).collect()
    }

    /// TensorBoard's own writers wrote the example file.
    #[test]
    fn scalars_of_tensorboards_own_writers_are_read() {
        let example = include_bytes!("../../../fixtures/events/example.tfevents");
        let of = |tag| {
            let mut points = BTreeMap::new();
            let n_bytes = take_records(example, tag, &mut points);
            assert_eq!(n_bytes, example.len() as u64);
            points.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of("learning_rate"), [(Step(1 << 40), 0.01)]);
        assert_eq!(of("loss/mean"), [(Step(1 << 40), 0.0)], "a zero is a value");
        assert_eq!(of("layer1/weights"), [], "a histogram is no scalar");
    }

    #[test]
    fn reading_continues_and_a_later_session_voids_recomputed_steps() {
        let folder = tempfile::tempdir().unwrap();
        let mut series = Series::new(folder.path(), TAG);
        assert_eq!(points(&mut series), []);
        let mut first = create(folder.path(), 1_000_000);
        first.append(&[summary(1, &[("loss/mean", 9.0), (TAG, 0.25)])]).unwrap();
        assert_eq!(points(&mut series), [(1, 0.25)]);
        first.append(&[summary(5, &[(TAG, 0.5)]), summary(10, &[(TAG, 0.625)])]).unwrap();
        let all = [(1, 0.25), (5, 0.5), (10, 0.625)];
        assert_eq!(points(&mut series), all);

        let mut second = create(folder.path(), 2_000_000);
        second.append(&[event(5, Payload::SessionStart), summary(5, &[(TAG, 0.75)])]).unwrap();
        assert_eq!(points(&mut series), [(1, 0.25), (5, 0.75)]);
        assert_eq!(points(&mut Series::new(folder.path(), TAG)), [(1, 0.25), (5, 0.75)]);
    }

    #[test]
    fn file_is_read_only_up_to_a_torn_or_damaged_record() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join(file_name(Incarnation(1), "host"));
        let mut file = create(folder.path(), 1);
        file.append(&[summary(1, &[(TAG, 0.25)]), summary(2, &[(TAG, 0.5)])]).unwrap();
        let whole = std::fs::read(&name).unwrap();
        let mut series = Series::new(folder.path(), TAG);
        std::fs::write(&name, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(points(&mut series), [(1, 0.25)]);
        std::fs::write(&name, &whole).unwrap();
        assert_eq!(points(&mut series), [(1, 0.25), (2, 0.5)]);

        let mut damaged = whole;
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&name, &damaged).unwrap();
        assert_eq!(points(&mut Series::new(folder.path(), TAG)), [(1, 0.25)]);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut points = BTreeMap::new();
            take_records(&bytes, TAG, &mut points);
            take_event(&bytes, TAG, &mut points);
        }
    }
}
