//! A trace as Chrome's JSON, for <https://ui.perfetto.dev>: tasks are processes, time is virtual.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use unisono::{Job, TaskId};

use crate::happening::EventKind;
use crate::life::LifeId;
use crate::scenario::nanos;
use crate::trace::{Trace, TracedEvent};

/// How long an event looks at most, in nanoseconds; it takes no time at all.
const WIDTH: u64 = 1_000;
/// The rows of each task.
const ROWS: [(Row, &str); 3] =
    [(Row::Events, "events"), (Row::Work, "work"), (Row::Files, "files")];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Events = 1,
    Work = 2,
    Files = 3,
}

/// The whole document.
#[must_use]
pub fn document(trace: &Trace) -> Value {
    let mut writer = Writer { trace, events: Vec::new(), busy_until: BTreeMap::new() };
    writer.name_rows();
    writer.write_events();
    json!({ "displayTimeUnit": "ns", "traceEvents": writer.events })
}

struct Writer<'a> {
    trace: &'a Trace,
    events: Vec<Value>,
    /// When a life has done the jobs before: one is begun when the one before is done.
    busy_until: BTreeMap<(LifeId, Row), u64>,
}

impl Writer<'_> {
    fn name_rows(&mut self) {
        let mut tasks: Vec<_> = self.trace.events.iter().map(|event| event.life.task).collect();
        tasks.sort_unstable();
        tasks.dedup();
        for task in tasks {
            let pid = process(task);
            self.events.push(json!({
                "ph": "M", "pid": pid, "name": "process_name",
                "args": { "name": task.to_string() },
            }));
            for (row, name) in ROWS {
                self.events.push(json!({
                    "ph": "M", "pid": pid, "tid": row as u32, "name": "thread_name",
                    "args": { "name": name },
                }));
            }
        }
    }

    fn write_events(&mut self) {
        // An event looks as long as there is room before the task's next one.
        let mut next: BTreeMap<TaskId, u64> = BTreeMap::new();
        let mut widths = vec![WIDTH; self.trace.events.len()];
        for (number, event) in self.trace.events.iter().enumerate().rev() {
            let at = nanos(event.at);
            if let Some(next) = next.insert(event.life.task, at) {
                widths[number] = WIDTH.min(next - at);
            }
        }
        for (number, event) in self.trace.events.iter().enumerate() {
            self.write_event(event, widths[number]);
            let cause = event.cause.and_then(|cause| usize::try_from(cause).ok());
            if let Some(cause) = cause.and_then(|cause| self.trace.events.get(cause)) {
                self.write_cause(number, event, cause);
            }
        }
    }

    fn write_event(&mut self, event: &TracedEvent, width: u64) {
        let effects: Vec<_> = event.effects.iter().map(|effect| &*effect.text).collect();
        self.events.push(json!({
            "ph": "X", "pid": process(event.life.task), "tid": Row::Events as u32,
            "ts": micros(nanos(event.at)), "dur": micros(width),
            "name": event.what.kind.name(), "cat": "event",
            "args": { "what": event.text, "life": event.life.incarnation.0, "does": effects },
        }));
    }

    /// What an event ends: a message on its way, or a job.
    fn write_cause(&mut self, number: usize, event: &TracedEvent, cause: &TracedEvent) {
        match event.what.kind {
            EventKind::Computed => self.write_job(event, cause.at, Row::Work, "computes"),
            EventKind::Updated => self.write_job(event, cause.at, Row::Work, "updates"),
            EventKind::Saved | EventKind::SaveFailed => {
                self.write_job(event, cause.at, Row::Files, "saves");
            }
            EventKind::Read | EventKind::ReadFailed => {
                self.write_job(event, cause.at, Row::Files, "reads");
            }
            _ if cause.life != event.life => self.write_message(number, event, cause),
            _ => {}
        }
    }

    fn write_job(&mut self, event: &TracedEvent, begun: Duration, row: Row, name: &str) {
        let busy_until = self.busy_until.entry((event.life, row)).or_default();
        let begin = nanos(begun).max(*busy_until);
        let end = nanos(event.at).max(begin);
        *busy_until = end;
        self.events.push(json!({
            "ph": "X", "pid": process(event.life.task), "tid": row as u32,
            "ts": micros(begin), "dur": micros(end - begin), "name": name, "cat": "work",
            "args": { "step": event.what.step, "slot": event.what.slot },
        }));
    }

    fn write_message(&mut self, number: usize, event: &TracedEvent, cause: &TracedEvent) {
        let end = |ph: &str, event: &TracedEvent| {
            json!({
                "ph": ph, "id": number, "pid": process(event.life.task),
                "tid": Row::Events as u32, "ts": micros(nanos(event.at)),
                "name": "message", "cat": "message", "bp": "e",
            })
        };
        self.events.extend([end("s", cause), end("f", event)]);
    }
}

/// A number for a task, ps before workers.
const fn process(task: TaskId) -> u32 {
    match task.job {
        Job::Ps => 1 + task.index,
        Job::Worker => 1_000_001 + task.index,
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
