//! Traces: all events of a run in order, with the same format for real and simulated runs.
//!
//! | module | content |
//! |---|---|
//! | [`named_event`] | kinds of events, and events with step and slot |
//! | [`entry`] | an event with its details |
//! | [`tracer`] | turns the inputs and effects of a node into entries |
//! | [`mod@line`], [`log`], [`mod@file`] | the format of a trace file, writing and reading it |
//! | `run` | [`Run`]: the traces of all tasks |
//! | [`history`] | [`History`]: all incarnations on one clock, events with causes |
//! | `messages`, `clocks` | match sent and received messages, and align clocks with them |
//! | [`timeline`] | the activities of each task over time |
//! | [`path`] | the critical path |
//! | [`updates`] | each update with its gradients |
//! | [`marks`] | notable events |
//! | [`perfetto`] | export for ui.perfetto.dev |

mod clocks;
pub mod entry;
pub mod file;
pub mod history;
pub mod line;
pub mod log;
pub mod marks;
mod messages;
pub mod named_event;
pub mod path;
pub mod perfetto;
mod run;
#[cfg(test)]
#[path = "../../../tests/unit/trace_script.rs"]
pub(crate) mod script;
pub mod timeline;
#[cfg(test)]
#[path = "../../../tests/support/trace_events.rs"]
mod trace_events;
pub mod tracer;
pub mod updates;

pub use self::run::Run;
pub use entry::{Details, Entry};
pub use file::last_incarnation;
pub use history::History;
pub use line::{Event, LifeHeader, Line, TracedLife};
pub use log::TraceLog;
pub use named_event::{EventKind, NamedEvent};
