//! What all targets share. What each one calls is in the crates, beside what it tests.

#![forbid(unsafe_code)]

mod memory;

/// Runs a target on an input that libFuzzer made.
pub fn run(target: fn(&[u8]) -> bool, bytes: &[u8]) {
    memory::bounded(target, bytes);
}
