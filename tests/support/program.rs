//! Which program is tested.

use std::path::PathBuf;

/// Names another program than that of this build: one of the release profile, of another compiler.
const PROGRAM: &str = "UNISONO_TEST_PROGRAM";

pub(crate) fn program() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_unisono").into();
    std::env::var_os(PROGRAM).map_or_else(built, PathBuf::from)
}
