//! Exports a run as JSON in the Trace Event Format, for <https://ui.perfetto.dev>. Each task is a
//! process in this format.
//!
//! The output follows the rules of the Trace Event Format. Complete events (`X`) in the same row
//! never overlap and are sorted by time. Each flow has one start and one finish, and both are
//! inside events. Metadata comes first.

use std::io::{self, Write};
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::history::{History, TimedEvent};
use super::marks::{Mark, marks};
use super::timeline::{Lane, Span, State, lanes};
use unisono_core::ids::{Job, TaskId};

/// Maximum displayed length of an event, in nanoseconds. Events of a node have no length of their
/// own.
const WIDTH: u64 = 1_000;
/// Rows of each task.
const ROWS: [(Row, &str); 3] =
    [(Row::Events, "events"), (Row::Work, "work"), (Row::Files, "files")];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Events = 1,
    Work = 2,
    Files = 3,
}

/// One event of the Trace Event Format. Fields that do not apply are omitted.
#[derive(Debug, Default, Serialize)]
struct TraceEvent<'a> {
    name: &'a str,
    ph: &'static str,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    /// Time in microseconds, the unit of the format.
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    /// Number of a flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    /// Binding point of a flow. With the value `e`, a flow ends at the event that encloses the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    /// Scope of an instant event, which determines the rows that its line crosses.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_object")]
    args: Args,
}

/// Details of an event, as pairs of a key and a value.
type Args = Vec<(&'static str, Value)>;

fn as_object<S: Serializer>(args: &Args, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(args.iter().map(|(key, value)| (key, value)))
}

impl TraceEvent<'_> {
    /// Returns an event of a task at a time, without a name.
    fn at(ph: &'static str, task: TaskId, row: Row, at: Duration, cat: &'static str) -> Self {
        let (pid, tid, ts) = (process(task), row as u32, Some(micros(nanos(at))));
        Self { ph, pid, tid, ts, cat: Some(cat), ..Self::default() }
    }
}

/// Returns the whole JSON document as text.
#[must_use]
pub fn text(history: &History) -> String {
    let mut text = Vec::new();
    write(history, &mut text).expect("writing to memory cannot fail");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// Writes the whole JSON document.
///
/// # Errors
/// Returns an error if writing to `to` fails.
pub fn write(history: &History, to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    let mut list = List { to, is_empty: true };
    list.name_rows(history)?;
    for lane in lanes(history) {
        list.lane(&lane)?;
    }
    list.events(history)?;
    for mark in marks(history) {
        list.mark(&mark)?;
    }
    list.to.write_all(b"]}\n")
}

struct List<'a, W> {
    to: &'a mut W,
    is_empty: bool,
}

impl<W: Write> List<'_, W> {
    fn push(&mut self, event: &TraceEvent<'_>) -> io::Result<()> {
        let separator: &[u8] = if self.is_empty { b"\n" } else { b",\n" };
        self.is_empty = false;
        self.to.write_all(separator)?;
        Ok(serde_json::to_writer(&mut *self.to, event)?)
    }

    fn name_rows(&mut self, history: &History) -> io::Result<()> {
        let mut tasks: Vec<_> = history.lives.iter().map(|life| life.task).collect();
        tasks.dedup();
        for task in tasks {
            let pid = process(task);
            let meta = |tid| TraceEvent { ph: "M", pid, tid, ..TraceEvent::default() };
            let args = vec![("name", task.to_string().into())];
            self.push(&TraceEvent { name: "process_name", args, ..meta(0) })?;
            let args = vec![("sort_index", pid.into())];
            self.push(&TraceEvent { name: "process_sort_index", args, ..meta(0) })?;
            for (row, name) in ROWS {
                let args = vec![("name", name.into())];
                self.push(&TraceEvent { name: "thread_name", args, ..meta(row as u32) })?;
            }
        }
        Ok(())
    }

    fn lane(&mut self, lane: &Lane) -> io::Result<()> {
        for (row, spans) in [(Row::Work, &lane.work), (Row::Files, &lane.files)] {
            for Span { state, begin, end, step, slot, peer } in spans {
                let args = [
                    step.map(|step| ("step", step.0.into())),
                    slot.map(|slot| ("slot", slot.0.into())),
                    peer.map(|peer| ("peer", peer.to_string().into())),
                ];
                self.push(&TraceEvent {
                    name: verb(*state),
                    dur: Some(micros(nanos(*end - *begin))),
                    args: args.into_iter().flatten().collect(),
                    ..TraceEvent::at("X", lane.task, row, *begin, "work")
                })?;
            }
        }
        Ok(())
    }

    fn events(&mut self, history: &History) -> io::Result<()> {
        let widths = widths(history);
        for (number, event) in history.events.iter().enumerate() {
            self.event(history, event, widths[number])?;
        }
        for (id, message) in history.messages.iter().enumerate() {
            for (ph, at) in [("s", message.sent), ("f", message.received)] {
                let time = history.events[at].at;
                self.push(&TraceEvent {
                    name: "message",
                    id: Some(id),
                    bp: (ph == "f").then_some("e"),
                    ..TraceEvent::at(ph, history.task(at), Row::Events, time, "message")
                })?;
            }
        }
        Ok(())
    }

    fn event(&mut self, history: &History, event: &TimedEvent, width: u64) -> io::Result<()> {
        let life = &history.lives[event.life];
        let does: Vec<_> = event.does.iter().map(ToString::to_string).collect();
        let mut args = vec![("what", event.input.to_string().into()), ("life", life.number.into())];
        args.extend((!does.is_empty()).then(|| ("does", does.into())));
        self.push(&TraceEvent {
            name: event.input.what.kind.name(),
            dur: Some(micros(width)),
            args,
            ..TraceEvent::at("X", life.task, Row::Events, event.at, "event")
        })
    }

    fn mark(&mut self, mark: &Mark) -> io::Result<()> {
        // In Perfetto's format, every instant event belongs to a process, so a mark without a task
        // is left out.
        let Some(task) = mark.task else { return Ok(()) };
        self.push(&TraceEvent {
            name: &mark.kind,
            s: Some("p"),
            args: vec![("what", mark.text.as_str().into())],
            ..TraceEvent::at("i", task, Row::Events, mark.at, "mark")
        })
    }
}

/// Returns the displayed length of each event, in nanoseconds. An event ends before the next event
/// of its task.
fn widths(history: &History) -> Vec<u64> {
    let mut widths = vec![WIDTH; history.events.len()];
    for pair in (1..history.events.len()).map(|later| [later - 1, later]) {
        let [(at, task), (next_at, next_task)] =
            pair.map(|number| (nanos(history.events[number].at), history.task(number)));
        if task == next_task {
            widths[pair[0]] = WIDTH.min(next_at.saturating_sub(at));
        }
    }
    widths
}

const fn verb(state: State) -> &'static str {
    match state {
        State::Compute => "computes",
        State::Apply => "updates",
        State::Send => "sends",
        State::Wait => "waits",
        State::Save => "reads or saves",
        State::Join => "joins",
        State::Down => "is down",
    }
}

/// Returns a process number for a task. The numbers of all ps are below the numbers of the workers.
const fn process(task: TaskId) -> u32 {
    match task.job {
        Job::Ps => 1 + task.index,
        Job::Worker => 1_000_001 + task.index,
    }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::super::trace_events;
    use super::*;

    fn document(script: Script) -> Value {
        serde_json::from_str(&text(&script.history())).unwrap()
    }

    #[test]
    fn exported_trace_follows_the_format_of_perfetto() {
        for script in [Script::two_steps(), Script::with_a_restart()] {
            let counts = trace_events::check(&document(script));
            assert_eq!(counts["s"], counts["f"]);
            assert!(counts["s"] > 10 && counts["X"] > 40, "{counts:?}");
        }
    }

    #[test]
    #[should_panic(expected = "overlaps")]
    fn format_check_finds_overlapping_events() {
        let mut document = document(Script::two_steps());
        let events = document["traceEvents"].as_array_mut().unwrap();
        let computes = events.iter_mut().find(|event| event["name"] == "computes").unwrap();
        computes["dur"] = 10_000_000.into();
        trace_events::check(&document);
    }

    #[test]
    #[should_panic(expected = "flow 3")]
    fn format_check_finds_an_incomplete_flow() {
        let mut document = document(Script::two_steps());
        let events = document["traceEvents"].as_array_mut().unwrap();
        events.retain(|event| (&event["ph"], &event["id"]) != (&"f".into(), &3.into()));
        trace_events::check(&document);
    }
}
