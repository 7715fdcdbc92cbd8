//! Disks that fail during a run: full or read-only disks, damaged and missing files.
//!
//! These tests use real files and the real program. `src/files` tests every sequence of failures,
//! and `tests/bad_input` tests files that are damaged at the start.

#![allow(missing_docs, reason = "a test program")]

mod full;
mod missing;
mod rotten;
#[path = "../support/mod.rs"]
mod support;
mod tmpfs;
mod watched;
