//! Whole clusters of real processes: what they compute, to the bit, and how they start and end.
//!
//! Nothing here looks inside the program: command lines in; files, lines and exit codes out.

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
