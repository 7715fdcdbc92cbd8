//! One event, and its bytes (`tensorflow/core/util/event.proto`, `framework/summary.proto`).

use super::histogram::{Bucket, Histogram};
use super::proto::Message;
use unisono_core::ids::Step;

/// Told at a moment, of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Seconds since 1970.
    pub wall_time: f64,
    /// The version that it is of.
    pub step: Step,
    /// What is told.
    pub what: What,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Of which version the file is; the first event of each file.
    FileVersion,
    /// `SessionLog.START`: what was told before of this step or a later one is void.
    SessionStart,
    /// Values, each under its tag.
    Summary(Vec<Value>),
}

/// A value under its tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its name; what is before a slash is its group.
    pub tag: String,
    /// The value.
    pub content: Content,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A point of a curve.
    Scalar(f32),
    /// How a tensor's values are distributed.
    Histogram(Histogram),
    /// Markdown, for the text plugin.
    Text(String),
}

/// What a reader of events expects: `SessionLog` decides what is void, not a step that goes back.
const FILE_VERSION: &str = "brain.Event:2";

impl Event {
    /// The event's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        /// `SessionLog.SessionStatus.START`
        const START: u64 = 1;
        let event = Message::default().double(1, self.wall_time).integer(2, self.step.0);
        let event = match &self.what {
            What::FileVersion => event.present_bytes(3, FILE_VERSION.as_bytes()),
            What::Summary(values) => {
                let add = |summary: Message, value: &Value| summary.message(1, &value.message());
                event.message(5, &values.iter().fold(Message::default(), add))
            }
            What::SessionStart => event.message(7, &Message::default().integer(1, START)),
        };
        event.as_bytes().to_vec()
    }
}

impl Value {
    fn message(&self) -> Message {
        let value = Message::default().present_bytes(1, self.tag.as_bytes());
        match &self.content {
            Content::Scalar(scalar) => value.present_float(2, *scalar),
            Content::Histogram(histogram) => value.message(5, &histogram_message(histogram)),
            Content::Text(text) => {
                value.message(8, &string_tensor(text)).message(9, &of_plugin("text"))
            }
        }
    }
}

fn histogram_message(histogram: &Histogram) -> Message {
    let buckets = histogram.buckets();
    Message::default()
        .double(1, histogram.min())
        .double(2, histogram.max())
        .double(3, histogram.n_values() as f64)
        .double(4, histogram.sum())
        .double(5, histogram.sum_squares())
        .doubles(6, buckets.iter().map(|Bucket { limit, .. }| *limit))
        .doubles(7, buckets.iter().map(|Bucket { count, .. }| *count))
}

/// A `TensorProto` of one string, a scalar.
fn string_tensor(text: &str) -> Message {
    const DT_STRING: u64 = 7;
    Message::default()
        .integer(1, DT_STRING)
        .message(2, &Message::default())
        .present_bytes(8, text.as_bytes())
}

/// A `SummaryMetadata` that names the plugin which shows a value.
fn of_plugin(name: &str) -> Message {
    Message::default().message(1, &Message::default().present_bytes(1, name.as_bytes()))
}
