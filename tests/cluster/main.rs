//! Whole clusters of real processes: their bits, their start and their end.
//!
//! These tests use command lines as the only input, and check files, output and exit codes.

#![allow(missing_docs, reason = "a test program")]

mod bits;
mod ends;
mod engines;
mod eval;
mod fresh;
mod incarnations;
mod kills;
mod ledger;
mod logdir;
mod many_slots;
mod memory;
mod metrics;
mod original;
mod parity;
mod refusals;
mod resume;
#[path = "../support/mod.rs"]
mod support;
mod trace;
