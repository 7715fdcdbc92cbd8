//! Shared memory between tasks. `bits.rs` tests that it changes no bit.
#![cfg(target_os = "linux")]

use std::fs;

use crate::support::{Bits, Folder, HandStarted, Role, bits_of, task_of_local, wait_until};

/// The command of a run that ends only if the test ends it.
const ENDLESS: &str =
    "local --hidden 30 --batch-size 20 --training-steps 1000000 --progress none --shared-memory";

/// Returns the numbers of shared buffers that a process has mapped: its own, which are writable,
/// and those of other tasks.
fn n_shared(process: u32) -> [usize; 2] {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let shared = maps.lines().filter(|line| line.contains("/memfd:unisono-"));
    let (own, others): (Vec<_>, Vec<_>) = shared.partition(|line| line.contains(" rw-s "));
    assert!(others.iter().all(|line| line.contains(" r--s ")), "{others:?}");
    [own.len(), others.len()]
}

#[test]
fn processes_of_one_machine_map_each_others_buffers() {
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
fn shared_memory_can_be_disabled() {
    let folder = Folder::new();
    let mut local = folder.start(&format!("{ENDLESS}=false"));
    wait_for_steps(&folder);
    for job in ["worker", "ps"] {
        assert_eq!(n_shared(task_of_local(folder.path(), job, 0)), [0, 0]);
    }
    local.kill();
}

/// Shared memory counts as a file. Exceeding the limit raises a signal that kills by default.
#[test]
fn file_size_limit_disables_shared_memory_and_kills_no_task() {
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

/// Waits until the losses of some updates are recorded.
fn wait_for_steps(folder: &Folder) {
    let losses = folder.logdir().join("losses.csv");
    wait_until("losses are recorded", || {
        fs::read_to_string(&losses).is_ok_and(|text| text.lines().count() > 20)
    });
}
