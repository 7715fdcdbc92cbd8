//! Injects faults into clusters of real processes. No fault may change a bit of the result.
//!
//! A cluster has 2 ps and 3 workers, which are killed, paused and replaced. Connections are
//! delayed, cut, half-open and corrupted.
//!
//! `bench/chaos/run` plays many seeds with the release program. A seed that fails leaves the logs
//! of all tasks and the faults with their times in a folder, which the error names.

#![allow(missing_docs, reason = "a test program")]

mod cluster;
mod plan;
mod play;
mod proxy;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use plan::{Fault, Plan};
use support::{Bits, Process, bits_of, unisono};

/// Variable with the first and the last seed, such as `1-20`.
const SEEDS: &str = "UNISONO_CHAOS_SEEDS";
/// Variable with the number of faults per run.
const FAULTS: &str = "UNISONO_CHAOS_FAULTS";

#[test]
fn faults_of_real_processes_change_no_bit() {
    let n_faults = number(&variable(FAULTS, "30"));
    println!("{}", heading());
    for seed in seeds(&variable(SEEDS, "1-2")) {
        println!("{}", row(seed, n_faults));
    }
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a whole number"))
}

fn seeds(text: &str) -> RangeInclusive<u64> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    number(first)..=number(last)
}

fn heading() -> String {
    let kinds = Fault::KINDS.join(" | ");
    let dashes = "---|".repeat(Fault::KINDS.len() + 8);
    format!(
        "| seed | optimizer | R | {kinds} | lives | fenced | restored | of them, no step lost | s |\n|{dashes}"
    )
}

/// Plays a seed and returns its row of the table.
///
/// # Panics
/// If a task fails, or if the result differs from the reference.
fn row(seed: u64, n_faults: u64) -> String {
    let plan = Plan::new(seed, n_faults);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}"));
    let _ = fs::remove_dir_all(&folder);
    let hint = format!(
        "seed {seed}: logs are in {}; reproduce with {SEEDS}={seed} {FAULTS}={n_faults}",
        folder.display()
    );
    let played = play::play(&plan, folder.clone()).unwrap_or_else(|why| panic!("{hint}\n{why}"));
    let expected = bits_of(&format!("reference --workers {} {}", plan::N_WORKERS, plan.flags));
    Bits::read(&folder.join("logdir")).assert_same_files(&expected, &hint);
    let mut audit = unisono("audit");
    audit.arg(folder.join("logdir"));
    let ended = Process::start(audit).wait();
    assert!(ended.status.success(), "{hint}\n{}{}", ended.stdout, ended.stderr);
    fs::remove_dir_all(&folder).expect("a folder can be removed");

    let count = |kind| plan.faults.iter().filter(|planned| planned.fault.kind() == kind).count();
    let kinds = Fault::KINDS.map(|kind| count(kind).to_string()).join(" | ");
    let (optimizer, replicas) =
        (word_after(&plan, "--optimizer"), word_after(&plan, "--replicas-to-aggregate"));
    let play::Played { n_lives, n_fenced, n_restored, n_without_loss, took } = played;
    format!(
        "| {seed} | {optimizer} | {replicas} | {kinds} | {n_lives} | {n_fenced} | \
         {n_restored} | {n_without_loss} | {:.1} |",
        took.as_secs_f64()
    )
}

fn word_after<'a>(plan: &'a Plan, flag: &str) -> &'a str {
    let mut words = plan.flags.split_whitespace();
    words.find(|word| *word == flag);
    words.next().expect("the flag has a value")
}
