//! The ledger of a ps: one line of JSON for each update of the ps's shard, with everything that the
//! update used.
//!
//! | module | content |
//! |---|---|
//! | [`mod@line`] | the format of a line |
//! | `recorder` | [`Recorder`] turns the inputs and effects of a node into lines |
//! | [`mod@file`] | reads ledger files |
//!
//! The crate `unisono-audit` compares the ledgers of all shards. `docs/ledger.md` explains every field.

pub mod file;
pub mod line;
mod recorder;

pub use file::{Ledger, file_name, last_header, last_incarnation, read, read_all};
pub use line::{Checksum, DropReason, Header, Line, Loss, Push, StateHash, UsedSlot};
pub use recorder::Recorder;
