//! One event and its encoding (`tensorflow/core/util/event.proto`, `framework/summary.proto`).

use super::histogram::Histogram;
use super::proto::Message;
use unisono_core::ids::Step;

/// An event at a wall time and a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Wall time, in seconds since 1970.
    pub wall_time: f64,
    /// Version that the event describes.
    pub step: Step,
    /// Content of the event.
    pub what: Payload,
}

/// The content of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// The version of the file format, which is the first event of each file.
    FileVersion,
    /// `SessionLog.START`: readers discard all earlier events whose step is this event's step or a
    /// larger one.
    SessionStart,
    /// Values with their tags.
    Summary(Vec<Value>),
}

/// A value with its tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Name of the value. The part before a slash is the name of a group.
    pub tag: String,
    /// The value itself.
    pub content: Content,
}

/// A value of one of the supported types.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A point of a curve.
    Scalar(f32),
    /// Distribution of a tensor's values.
    Histogram(Histogram),
    /// Markdown text, for the text plugin.
    Text(String),
}

/// The version of the file format. With this version, readers discard events only after a
/// `SessionLog.START`. With an older version, readers would also discard events whenever a step is
/// smaller than the step before it.
const FILE_VERSION: &str = "brain.Event:2";

impl Event {
    /// Returns the encoded event.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        /// `SessionLog.SessionStatus.START`.
        const START: u64 = 1;
        let event = Message::default().double(1, self.wall_time).integer(2, self.step.0);
        let event = match &self.what {
            Payload::FileVersion => event.present_bytes(3, FILE_VERSION.as_bytes()),
            Payload::Summary(values) => {
                let add = |summary: Message, value: &Value| summary.message(1, &value.message());
                event.message(5, &values.iter().fold(Message::default(), add))
            }
            Payload::SessionStart => event.message(7, &Message::default().integer(1, START)),
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
    let (limits, counts) = histogram.buckets();
    Message::default()
        .double(1, histogram.min)
        .double(2, histogram.max)
        .double(3, histogram.n_values as f64)
        .double(4, histogram.sum)
        .double(5, histogram.sum_squares)
        .doubles(6, &limits)
        .doubles(7, &counts)
}

/// Returns a `TensorProto` with a scalar string.
fn string_tensor(text: &str) -> Message {
    const DT_STRING: u64 = 7;
    Message::default()
        .integer(1, DT_STRING)
        .message(2, &Message::default())
        .present_bytes(8, text.as_bytes())
}

/// Returns a `SummaryMetadata` with the name of the TensorBoard plugin that displays the value.
fn of_plugin(name: &str) -> Message {
    Message::default().message(1, &Message::default().present_bytes(1, name.as_bytes()))
}
