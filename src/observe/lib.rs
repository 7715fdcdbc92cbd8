//! What is recorded and shown of a run: ledgers, traces, event files, audits and reports.

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

pub mod audit;
pub mod counted;
pub mod events;
pub mod ledger;
pub mod report;
pub mod trace;
