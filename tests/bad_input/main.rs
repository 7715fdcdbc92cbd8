//! What is wrong with the input is told in one line, with the value and the remedy; the program
//! exits with 2 for a wrong command line and 1 for the rest; nothing is overwritten.

#![allow(missing_docs, reason = "a test program")]

mod checkpoints;
mod command_line;
mod data;
mod hosts;
mod losses;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
