//! Memory that tasks share. That it changes no bit is in `bits.rs`.
#![cfg(target_os = "linux")]

use std::fs;

use crate::support::{Bits, Folder, HandStarted, Role, bits_of, task_of_local, wait_until};

/// A run that ends when it is told to.
const ENDLESS: &str =
    "local --hidden 30 --batch-size 20 --training-steps 1000000 --progress none --shared-memory";

/// How many buffers of tasks this one has mapped: its own, which it writes, and those of others.
fn n_shared(process: u32) -> [usize; 2] {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let shared = maps.lines().filter(|line| line.contains("/memfd:unisono-"));
    let (own, others): (Vec<_>, Vec<_>) = shared.partition(|line| line.contains(" rw-s "));
    assert!(others.iter().all(|line| line.contains(" r--s ")), "{others:?}");
    [own.len(), others.len()]
}

#[test]
fn processes_of_one_machine_map_each_others_memory() {
    let folder = Folder::new();
    let mut local = folder.start(&format!("{ENDLESS}=true"));
    wait_for_steps(&folder);
    // Every task sends tensors to two others.
    for (job, index) in [("worker", 0), ("worker", 1), ("ps", 0), ("ps", 1)] {
        let task = task_of_local(folder.path(), job, index);
        wait_until(&format!("{job} {index} shares memory"), || {
            let [own, others] = n_shared(task);
            own >= 2 && others >= 2
        });
    }
    local.kill();
}

#[test]
fn who_is_told_to_keeps_to_its_sockets() {
    let folder = Folder::new();
    let mut local = folder.start(&format!("{ENDLESS}=false"));
    wait_for_steps(&folder);
    for job in ["worker", "ps"] {
        assert_eq!(n_shared(task_of_local(folder.path(), job, 0)), [0, 0]);
    }
    local.kill();
}

/// Anonymous memory counts as a file, and to exceed the limit is a signal that kills by default.
#[test]
fn a_limit_of_file_sizes_keeps_a_task_to_its_sockets_and_kills_none() {
    const FLAGS: &str = "--hidden 30 --batch-size 20 --training-steps 40 --progress none";
    let folder = Folder::new();
    let cluster = HandStarted::new(1, 2, FLAGS, folder.logdir());
    let tasks = [
        cluster.start_limited(Role::Ps(0), 16),
        cluster.start(Role::Worker(0)),
        cluster.start_limited(Role::Worker(1), 16),
    ];
    for task in tasks {
        task.wait().expect_code(0);
    }
    let expected = bits_of(&format!("reference {FLAGS}"));
    Bits::read(&folder.logdir()).assert_same(&expected, "with a limit of file sizes");
}

/// Waits until some updates are recorded: many more have been made.
fn wait_for_steps(folder: &Folder) {
    let losses = folder.logdir().join("losses.csv");
    wait_until("losses are recorded", || {
        fs::read_to_string(&losses).is_ok_and(|text| text.lines().count() > 20)
    });
}
