//! A program with all commands of `unisono` and, below `sim`, those of `unisono-sim`. It trains the
//! model of `examples/own_model.rs`.
//!
//! ```text
//! cargo run --release -p unisono-sim --example own_program -- local --width 32 --batch-size 20
//! cargo run --release -p unisono-sim --example own_program -- sim run scenarios/crash.toml
//! ```

#[allow(dead_code, reason = "this program has its own main function")]
#[path = "../../examples/own_model.rs"]
mod own_model;

use std::process::ExitCode;

fn main() -> ExitCode {
    let workload = own_model::bright_rows();
    match std::env::args_os().nth(1) {
        Some(word) if word == "sim" => {
            unisono_sim::cli::main_with(&workload, std::env::args_os().skip(1))
        }
        _ => unisono::program::main_with(&workload),
    }
}
