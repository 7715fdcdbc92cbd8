//! Disks that fail under a run: full, read-only, with a rotten checkpoint or something in the place
//! of a file. Real files and the real program; the sequence of every failure is tested in
//! `src/checkpoint/`, and what is found damaged at the start in `tests/bad_input/`.

#![allow(missing_docs, reason = "a test program")]

mod full;
mod missing;
mod rotten;
#[path = "../support/mod.rs"]
mod support;
mod tmpfs;
mod watched;
