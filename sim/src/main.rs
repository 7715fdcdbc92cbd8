//! The program `unisono-sim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    unisono_sim::cli::main()
}
