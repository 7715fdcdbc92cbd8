//! The path of the program under test.

use std::path::PathBuf;

/// Variable with the path of another program to test, such as one of another compiler or profile.
const PROGRAM: &str = "UNISONO_TEST_PROGRAM";

pub(crate) fn program() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_unisono").into();
    std::env::var_os(PROGRAM).map_or_else(built, PathBuf::from)
}
