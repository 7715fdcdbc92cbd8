//! The program `unisono`.

use std::process::ExitCode;

fn main() -> ExitCode {
    unisono::program::main()
}
