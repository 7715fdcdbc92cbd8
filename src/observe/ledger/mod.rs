//! The ledger of a ps: one line of JSON for each update of the ps's shard, with everything that the
//! update used.
//!
//! | module | content |
//! |---|---|
//! | [`mod@line`] | the format of a line |
//! | `recorder` | [`Recorder`] turns the inputs and effects of a node into lines |
//! | `log` | [`Log`] appends lines to a file |
//! | [`mod@file`] | reads ledger files |
//!
//! The crate `unisono-audit` compares the ledgers of all shards. `docs/ledger.md` explains every field.

pub mod file;
pub mod line;
mod log;
mod recorder;

pub use file::{
    Ledger, LedgerError, Numbered, file_name, last_header, last_incarnation, read, read_all,
};
pub use line::{Checksum, DropReason, Header, Line, Loss, Push, StateHash, UsedSlot};
pub use log::Log;
pub use recorder::Recorder;
