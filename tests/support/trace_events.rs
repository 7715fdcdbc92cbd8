//! Checks a document against the Trace Event Format, more strictly than readers of that format do.
//!
//! By "Trace Event Format" (Google, 2016), each phase has required keys. Complete events of a row
//! are sorted by time and do not overlap. A flow has one start and one finish, which lie within
//! events.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// The process and the thread of a row.
type Row = (u64, u64);

/// Checks a document, and returns the number of events of each phase.
///
/// # Panics
/// If the document violates the format.
pub(crate) fn check(document: &Value) -> BTreeMap<String, usize> {
    let top: Vec<_> = document.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(top, ["displayTimeUnit", "traceEvents"]);
    assert!(["ms", "ns"].contains(&document["displayTimeUnit"].as_str().expect("a text")));
    let events = document["traceEvents"].as_array().expect("a list");
    let (mut counts, mut rows) = (BTreeMap::new(), BTreeMap::<Row, Vec<(u64, u64)>>::new());
    let (mut named, mut flows) = (BTreeSet::new(), BTreeMap::<u64, Vec<(String, Row, u64)>>::new());
    for event in events {
        let event = event.as_object().expect("an object");
        let phase = event["ph"].as_str().expect("a phase");
        let row = (number(event, "pid"), number(event, "tid"));
        *counts.entry(phase.to_owned()).or_default() += 1;
        assert!(!event["name"].as_str().expect("a name").is_empty(), "{event:?}");
        match phase {
            "M" => {
                keys(event, &["args", "name", "ph", "pid", "tid"]);
                assert!(named.insert((row, event["name"].to_string())), "twice: {event:?}");
            }
            "X" => {
                keys(event, &["args", "cat", "dur", "name", "ph", "pid", "tid", "ts"]);
                rows.entry(row).or_default().push((nanos(event, "ts"), nanos(event, "dur")));
            }
            "i" => {
                keys(event, &["args", "cat", "name", "ph", "pid", "s", "tid", "ts"]);
                assert!(["g", "p", "t"].contains(&event["s"].as_str().expect("a text")));
            }
            "s" | "f" => {
                let mut all = vec!["cat", "id", "name", "ph", "pid", "tid", "ts"];
                if phase == "f" {
                    all.insert(0, "bp");
                    assert_eq!(event["bp"], "e", "{event:?}");
                }
                keys(event, &all);
                let end = (phase.to_owned(), row, nanos(event, "ts"));
                flows.entry(number(event, "id")).or_default().push(end);
            }
            other => panic!("unexpected phase {other}: {event:?}"),
        }
    }
    for (row, events) in &rows {
        assert!(named.contains(&(*row, "\"thread_name\"".to_owned())), "{row:?} has no name");
        assert!(
            named.contains(&((row.0, 0), "\"process_name\"".to_owned())),
            "{row:?} has no process name"
        );
        for two in events.windows(2) {
            let [(begin, length), (next, _)] = [two[0], two[1]];
            assert!(begin <= next, "{row:?}: {next} ns comes after {begin} ns");
            assert!(begin + length <= next, "{row:?}: {begin} + {length} ns overlaps {next} ns");
        }
    }
    for (id, ends) in &flows {
        let [(first, _, sent), (second, _, came)] = &**ends else { panic!("flow {id}: {ends:?}") };
        assert_eq!((&**first, &**second), ("s", "f"), "flow {id}");
        assert!(sent <= came, "flow {id} finishes before it starts");
        for (_, row, at) in ends {
            let events = &rows[row];
            let before = events.partition_point(|(begin, _)| begin <= at);
            let within = |(begin, length): &(u64, u64)| begin <= at && *at <= begin + length;
            assert!(
                events[..before].iter().rev().take(64).any(within),
                "flow {id} lies within no event"
            );
        }
    }
    counts
}

fn keys(event: &Map<String, Value>, expected: &[&str]) {
    let mut keys: Vec<_> = event.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let optional = |key: &&str| *key == "args" && !expected.contains(key);
    keys.retain(|key| !optional(key));
    let mut expected = expected.to_vec();
    // Arguments are optional for every event.
    expected.retain(|key| *key != "args" || keys.contains(key));
    assert_eq!(keys, expected, "{event:?}");
}

fn number(event: &Map<String, Value>, key: &str) -> u64 {
    event[key].as_u64().unwrap_or_else(|| panic!("{key} of {event:?}"))
}

/// Returns a field in microseconds as whole nanoseconds.
fn nanos(event: &Map<String, Value>, key: &str) -> u64 {
    let micros = event[key].as_f64().unwrap_or_else(|| panic!("{key} of {event:?}"));
    assert!(micros >= 0.0 && micros.is_finite(), "{event:?}");
    (micros * 1e3).round() as u64
}
