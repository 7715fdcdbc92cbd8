//! Memory that tasks share. That it changes no bit is in `bits.rs`.
#![cfg(target_os = "linux")]

use std::fs;

use crate::support::{Folder, task_of_local, wait_until};

/// A run that ends when it is told to.
const ENDLESS: &str =
    "local --hidden 30 --batch-size 20 --training-steps 1000000 --progress none --shared-memory";

/// Memory of tasks that this one has mapped: its own, and that of others.
fn n_shared(process: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    maps.lines().filter(|line| line.contains("/memfd:unisono-")).count()
}

#[test]
fn processes_of_one_machine_map_each_others_memory() {
    let folder = Folder::new();
    let mut local = folder.start(&format!("{ENDLESS}=true"));
    wait_for_steps(&folder);
    // Two on each of two links.
    for (job, index) in [("worker", 0), ("worker", 1), ("ps", 0), ("ps", 1)] {
        let task = task_of_local(folder.path(), job, index);
        wait_until(&format!("{job} {index} shares memory"), || n_shared(task) == 4);
    }
    local.kill();
}

#[test]
fn who_is_told_to_keeps_to_its_sockets() {
    let folder = Folder::new();
    let mut local = folder.start(&format!("{ENDLESS}=false"));
    wait_for_steps(&folder);
    for job in ["worker", "ps"] {
        assert_eq!(n_shared(task_of_local(folder.path(), job, 0)), 0);
    }
    local.kill();
}

/// Waits until some updates are recorded: many more have been made.
fn wait_for_steps(folder: &Folder) {
    let losses = folder.logdir().join("losses.csv");
    wait_until("losses are recorded", || {
        fs::read_to_string(&losses).is_ok_and(|text| text.lines().count() > 20)
    });
}
