//! Compares events byte by byte with events that TensorBoard's own writers wrote
//! (`fixtures/events/make.py`).

use super::record::push_record;
use super::{Content, Event, Histogram, Payload, Value};
use unisono_core::ids::Step;

const EXAMPLE: &[u8] = include_bytes!("../../../fixtures/events/example.tfevents");

/// Returns the values that the script `make.py` uses.
fn values() -> Vec<f32> {
    let cubes = (-40i16..=40).map(|i| f32::from(i).powi(3) / 1024.0);
    let edges = [-0.0, 1e-12, -1e-12, 1e-30, 1.0, 1.0, 1e20, -1e20, 3e38, -3e38];
    cubes.chain(edges).collect()
}

fn histogram(values: &[f32]) -> Content {
    let mut histogram = Histogram::default();
    histogram.add(values);
    Content::Histogram(histogram)
}

fn example() -> [Event; 3] {
    let value = |(tag, content): (&str, Content)| Value { tag: tag.to_owned(), content };
    let text = "| setting | value |\n|---|---|\n| \u{3bb} | 0.0001 |\n";
    let values = [
        ("loss/mean", Content::Scalar(0.0)),
        ("learning_rate", Content::Scalar(0.01)),
        ("layer1/weights", histogram(&values())),
        ("layer1/biases", histogram(&[])),
        ("configuration", Content::Text(text.to_owned())),
    ]
    .map(value)
    .to_vec();
    let (begin, later) = (1_700_000_000.25, 1_700_000_010.5);
    [
        Event { wall_time: begin, step: Step(0), what: Payload::FileVersion },
        Event { wall_time: begin + 0.25, step: Step(300), what: Payload::SessionStart },
        Event { wall_time: later, step: Step(1 << 40), what: Payload::Summary(values) },
    ]
}

#[test]
fn events_equal_those_of_tensorboards_own_writers() {
    let mut file = Vec::new();
    for event in example() {
        push_record(&event.encode(), &mut file);
        let so_far = &EXAMPLE[..file.len().min(EXAMPLE.len())];
        assert!(file == so_far, "{event:?}: {:02x?} instead of {so_far:02x?}", file);
    }
    assert_eq!(file.len(), EXAMPLE.len());
}

#[test]
fn histogram_does_not_depend_on_how_its_values_are_split() {
    let mut portions = Histogram::default();
    values().chunks(7).for_each(|portion| portions.add(portion));
    assert_eq!(Content::Histogram(portions), histogram(&values()));
}
