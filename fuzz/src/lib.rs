//! The code that all fuzz targets share. The function that a target calls is in the crate that it
//! tests.

#![forbid(unsafe_code)]

mod memory;

/// Runs a target on an input from libFuzzer.
pub fn run(target: fn(&[u8]) -> bool, bytes: &[u8]) {
    memory::bounded(target, bytes);
}
