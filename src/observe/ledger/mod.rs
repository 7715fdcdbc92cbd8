//! The ledger of a ps: what every update of its shard was made of, one line of JSON each.
//!
//! [`mod@line`] is the format, [`Recorder`] makes the lines out of what a node takes and does, [`Log`]
//! appends them to a file, and [`mod@file`] reads files back. What the lines of all shards mean
//! together is [`crate::audit`]'s business. `docs/ledger.md` explains every field.

pub mod file;
pub mod line;
mod log;
mod recorder;

pub use file::{
    Ledger, LedgerError, Numbered, file_name, last_header, last_incarnation, read, read_all,
};
pub use line::{Checksum, Header, Line, Loss, Push, StateHash, UsedSlot, Why};
pub use log::Log;
pub use recorder::Recorder;
