//! Bad input is reported in one line with the value and the remedy, and overwrites nothing.
//!
//! The program exits with 2 for a wrong command line and with 1 for other bad input.

#![allow(missing_docs, reason = "a test program")]

mod checkpoints;
mod command_line;
mod data;
mod hosts;
mod losses;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
