//! Audits a run: checks its ledgers, losses and checkpoints against the rules of
//! `docs/protocol.md`.
//!
//! [`Audit::of`] checks the ledgers. [`Audit::check_files`] then compares losses and checkpoints
//! with the ledgers. An audit recomputes no values. The module [`replay`] recomputes a run.
//!
//! | module | content |
//! |---|---|
//! | `pass` | checks each ledger by itself |
//! | `generations` | the order in which generations were opened |
//! | `shards` | compares the ledgers of all shards |
//! | `repeats` | compares updates that were recomputed after a rollback |
//! | `files` | compares losses and checkpoints with the ledgers |
//! | [`shard`] | the history of one shard |
//! | [`found`] | the result of an audit |
//! | `report` | prints the result |
//! | [`ledger_losses`] | restores losses from ledgers |
//! | [`replay`] | recomputes a run from its ledgers |

mod examine;
mod files;
pub mod found;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzzing/ledger.rs"]
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
#[path = "../../tests/support/corpus.rs"]
mod corpus;
#[cfg(test)]
mod tests;

pub use files::{FilesError, LossRow, by_step};
pub use found::{Audit, AuditCounts, Verdict};
pub use report::AuditReport;
pub use rule::Rule;
pub use shard::{Made, Rollback, ShardHistory};
pub use violation::{FilePlace, Violation};
