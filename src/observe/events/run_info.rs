//! Reads the start and the settings of a run from the event files of a logdir, for the report.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use super::proto::{self, Field, bytes_of};
use super::record::records;
use super::series::event_files;
use super::summarizer::CONFIGURATION;
use unisono_core::protocol::Settings;
use unisono_files::disk::RealDisk;

/// Maximum number of bytes that are read from a file. Each incarnation of the chief writes its
/// settings first, so the settings are near the start of its event file.
const MAX_READ_BYTES: u64 = 1 << 20;

/// The start and the settings of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInfo {
    /// Wall time of the first event, since 1970; `None` if there is no event.
    pub began: Option<Duration>,
    /// Settings of the chief's newest incarnation; empty if the files contain no settings. The
    /// setting `unisono` is the version of the program, and the setting `training_data` is the
    /// digest of the training data.
    pub settings: Settings,
}

impl RunInfo {
    /// Reads the event files of a logdir.
    ///
    /// # Errors
    /// Returns an error if the folder or a file cannot be read.
    pub fn read(logdir: &Path) -> io::Result<Self> {
        let mut info = Self::default();
        // The sorted names are in the order of the incarnations, so the newest settings win.
        for name in event_files(logdir)? {
            let mut bytes = Vec::new();
            RealDisk::open_to_read(&logdir.join(name))?
                .take(MAX_READ_BYTES)
                .read_to_end(&mut bytes)?;
            records(&bytes).for_each(|event| info.take_event(event));
        }
        Ok(info)
    }

    /// Reads the start and the settings from an event. The field numbers are those in
    /// [`super::event`].
    fn take_event(&mut self, event: &[u8]) {
        for (number, field) in proto::fields(event) {
            match (number, field) {
                (1, Field::Double(secs)) if self.began.is_none() => {
                    self.began = Duration::try_from_secs_f64(secs).ok();
                }
                (5, Field::Bytes(summary)) => {
                    if let Some(text) = configuration_of(summary) {
                        self.settings = settings_of(&text);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Returns the text of the value with the tag `configuration`.
fn configuration_of(summary: &[u8]) -> Option<String> {
    let mut values = proto::values_of(summary, CONFIGURATION);
    let text = values.find_map(|value| bytes_of(bytes_of(value, 8)?, 8))?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Parses a Markdown table, without its two heading lines.
fn settings_of(table: &str) -> Settings {
    let rows = table.lines().skip(2).filter_map(|line| {
        line.strip_prefix("| ")?.strip_suffix(" |").and_then(|row| row.split_once(" | "))
    });
    rows.fold(Settings::default(), |settings, (key, value)| settings.with(key, value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::events::file::file_name;
    use crate::events::{Content, Event, EventFile, Payload, Value};
    use unisono_core::ids::{Incarnation, Step};

    /// Writes the event file of an incarnation that started `secs` seconds after 1970.
    fn write(logdir: &Path, secs: u64, table: &str) {
        let name = file_name(Incarnation(secs * 1_000_000), "host");
        let mut file =
            EventFile::create(Arc::new(RealDisk), logdir, &name, secs as f64).expect("a file");
        let content = Content::Text(table.to_owned());
        let values = vec![
            Value { tag: "loss/mean".to_owned(), content: Content::Scalar(2.5) },
            Value { tag: CONFIGURATION.to_owned(), content },
        ];
        let event = |what| Event { wall_time: secs as f64 + 0.5, step: Step(0), what };
        file.append(&[event(Payload::SessionStart), event(Payload::Summary(values))])
            .expect("events");
    }

    #[test]
    fn run_info_has_the_start_of_the_first_incarnation_and_the_newest_settings() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(RunInfo::read(folder.path()).unwrap(), RunInfo::default());
        let heading = "| setting | value |\n|---|---|\n";
        write(folder.path(), 2000, &format!("{heading}| seed | 2 |\n| hidden |  |\n"));
        write(folder.path(), 1000, &format!("{heading}| seed | 1 |\n"));
        let settings = Settings::default().with("seed", 2).with("hidden", "");
        let began = Some(Duration::from_secs(1000));
        assert_eq!(RunInfo::read(folder.path()).unwrap(), RunInfo { began, settings });
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut info = RunInfo::default();
            records(&bytes).for_each(|event| info.take_event(event));
            info.take_event(&bytes);
            settings_of(&String::from_utf8_lossy(&bytes));
        }
    }
}
