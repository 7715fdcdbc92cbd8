//! Everything that happened in a run, in order: the same trace of a real run and a simulated one.
//!
//! [`named_event`] names events, [`entry`] says what is told of one, [`tracer`] makes entries of what a
//! node takes and does, `line`, `log` and `file` are the file that a task writes. [`Run`] is all
//! lives of a run, [`History`] lays them side by side, and [`timeline`], [`path`], [`updates`] and
//! [`marks`] are what can be read off that; [`perfetto`] writes it for ui.perfetto.dev.

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
mod script;
pub mod timeline;
#[cfg(test)]
#[path = "../../../tests/support/trace_events.rs"]
mod trace_events;
pub mod tracer;
pub mod updates;

pub use self::run::Run;
pub use crate::trace::line::TracedLife;
pub use entry::{Details, Entry};
pub use file::last_incarnation;
pub use history::History;
pub use line::{Event, LifeHeader, Line};
pub use log::TraceLog;
pub use named_event::{EventKind, NamedEvent};
pub use tracer::Tracer;
