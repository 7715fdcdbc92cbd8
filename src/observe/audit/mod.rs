//! Whether a run kept the rules of `docs/protocol.md`, as far as its files can tell: the ledgers of
//! all shards, the losses, the checkpoints.
//!
//! [`Audit::of`] goes through the ledgers; losses and checkpoints can be held against them after
//! that. Nothing is computed again here: that is [`crate::audit::replay`].

mod examine;
mod files;
pub mod found;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod generations;
pub mod ledger_losses;
mod pass;
mod repeats;
pub mod replay;
mod report;
mod rule;
pub mod shard;
mod shards;
mod violation;

#[cfg(test)]
mod tests;

pub use files::{FilesError, LossRow, by_step};
pub use found::{Audit, Seen, Verdict};
pub use report::Report;
pub use rule::Rule;
pub use shard::{Made, Rollback, Shard};
pub use violation::{Place, Violation};
