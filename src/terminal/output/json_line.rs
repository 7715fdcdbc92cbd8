//! Log lines as JSON objects, for programs that collect logs.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use unisono_core::ids::TaskId;

/// One log line. The fields are written in the order in which this type declares them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct JsonLine {
    /// The time in UTC, in the format of RFC 3339.
    timestamp: String,
    level: String,
    /// The task that wrote the line; `None` for a process that is not a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    /// The part of the program that wrote the line.
    target: String,
    message: String,
    /// The other values of the event, by name.
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
}

impl JsonLine {
    /// Returns a line with the current time.
    pub(super) fn new(level: &Level, task: Option<TaskId>, target: &str, message: &str) -> Self {
        let mut timestamp = String::new();
        // If the time cannot be formatted, it stays empty, because the line is still worth writing.
        let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        Self {
            timestamp,
            level: level.to_string(),
            task: task.map(|task| task.to_string()),
            target: target.to_owned(),
            message: message.to_owned(),
            fields: Map::new(),
        }
    }

    /// Returns whether a line that a task has printed is already a log line as a JSON object.
    pub(super) fn is_one(line: &str) -> bool {
        line.starts_with("{\"timestamp\":") && line.ends_with('}')
    }

    pub(super) fn record(&mut self, name: &str, value: Value) {
        match (name, value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl fmt::Display for JsonLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).expect("texts and numbers can be written as JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_log_line_has_time_level_task_target_message_and_fields_in_this_order() {
        let mut line = JsonLine::new(&Level::WARN, Some(TaskId::worker(1)), "unisono::cli", "");
        assert!(line.timestamp.ends_with('Z') && line.timestamp.contains('T'), "{line}");
        line.timestamp = "2026-11-28T18:00:00.000000Z".to_owned();
        line.record("message", "ps 0 said \"no\"\nand left".into());
        line.record("waited_secs", 1.5.into());
        line.record("step", 7.into());
        insta::assert_snapshot!(line, @r#"{"timestamp":"2026-11-28T18:00:00.000000Z","level":"WARN","task":"worker 1","target":"unisono::cli","message":"ps 0 said \"no\"\nand left","fields":{"step":7,"waited_secs":1.5}}"#);
        assert!(JsonLine::is_one(&line.to_string()));
    }

    #[test]
    fn absent_task_and_fields_are_left_out() {
        let line = JsonLine::new(&Level::INFO, None, "unisono", "hello").to_string();
        assert!(
            line.ends_with(r#""level":"INFO","target":"unisono","message":"hello"}"#),
            "{line}"
        );
        assert!(!JsonLine::is_one("thread 'main' panicked") && !JsonLine::is_one("{\"step\":1}"));
    }
}
