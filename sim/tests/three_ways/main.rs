//! One loop, the simulator, and processes over TCP have the same losses and the same final tensors,
//! bit for bit, under any faults.
//!
//! The simulator plays scenario files. The production program runs the training configurations of
//! those files, with real signals to real processes as faults. In all three cases the production
//! code writes the files that are compared.

#![allow(missing_docs, reason = "a test program")]
#![allow(dead_code, reason = "this test uses only a part of the shared helpers")]

#[path = "../../../tests/support/files.rs"]
mod files;
#[path = "../../../tests/support/hand_started.rs"]
mod hand_started;
mod ledgers;
#[path = "../../../tests/support/process.rs"]
mod process;
mod program;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use unisono_core::ids::Cut;

use unisono_config::RunConfig;
use unisono_core::protocol::{Snapshot, UpdateRecord};
use unisono_core::{Generation, Slot, Step};
use unisono_files::disk::RealDisk;
use unisono_files::run_files::RunFiles;
use unisono_learn::training::Plan;
use unisono_learn::training::reference::Reference;
use unisono_sim::Scenario;
use unisono_sim::many::case::Source;
use unisono_sim::play;
use unisono_sim::run::played::PlayOptions;
use unisono_sim::scenario::Expect;

use crate::files::Bits;
use crate::hand_started::{HandStarted, Role};
use crate::process::{Process, wait_until};
use crate::program::{Folder, unisono};
use crate::support::{caches, passed};

/// The number of steps of runs that a signal disturbs. Real processes make some thousand updates
/// per second, so a signal that is sent after the first losses comes long before the last ones.
const LONG: u64 = 1_500;

fn load(name: &str) -> Scenario {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let source = Source::load(&std::path::Path::new(folder).join(name));
    let source = source.unwrap_or_else(|error| panic!("{error}"));
    Arc::unwrap_or_clone(source.scenario)
}

/// Loads a scenario of the repository with [`LONG`] steps.
fn long(name: &str) -> Scenario {
    let mut scenario = load(name);
    scenario.run.train.training_steps = LONG;
    // The other expectations are those of the original length. Only the losses matter here.
    scenario.expect = Expect { oracle: scenario.expect.oracle, ..Expect::default() };
    scenario
}

/// Writes the files of a run with these rows and this final state, and reads their bits.
fn keep(plan: &Plan, rows: &[(Step, Slot, f32)], end: &Snapshot) -> Bits {
    let folder = Folder::new();
    let config = plan.files(&folder.logdir(), None).expect("the model has initial values");
    let (mut files, _) = RunFiles::open(Arc::new(RealDisk), config).expect("a folder can be made");
    for rows in rows.chunk_by(|a, b| a.0 == b.0) {
        let losses = rows.iter().map(|(_, slot, loss)| (*slot, *loss)).collect();
        let update = UpdateRecord {
            cut: Cut { generation: Generation::default(), step: rows[0].0 },
            losses,
        };
        files.losses().record(&update).expect("the disk takes it");
    }
    files.persist(end).expect("the disk takes it");
    Bits::read(&folder.logdir())
}

fn simulated(scenario: &Scenario, seed: u64) -> Bits {
    let played = passed(play(&Arc::new(scenario.clone()), seed, caches(), PlayOptions::default()));
    let cache = caches().for_run(&scenario.run).expect("the data fit the configuration");
    keep(cache.plan(), &played.losses, &played.checkpoint.expect("a run ends with a checkpoint"))
}

/// Returns the flags of a run that are no defaults: its settings, and whether the ps keep ledgers.
fn flags(run: &RunConfig) -> String {
    let settings = run.settings();
    let has_flag = |(key, text): &(&str, &str)| {
        !["ps", "workers"].contains(key) && (*key, *text) != ("validation_size", "default")
    };
    let settings = settings.iter().filter(has_flag);
    let flags = settings.map(|(key, text)| format!("--{}={text}", key.replace('_', "-")));
    let others = ["--progress=none".to_owned(), format!("--ledger={}", run.ledger)];
    flags.chain(others).collect::<Vec<_>>().join(" ")
}

fn reference(run: &RunConfig) -> Bits {
    let workers = run.sync.total_num_replicas;
    let words = format!("reference {} --workers {workers} --ps {}", flags(run), run.n_ps);
    Folder::new().bits_of(&words)
}

/// Runs a cluster of processes without faults.
fn cluster(run: &RunConfig) -> Bits {
    let workers = run.sync.total_num_replicas;
    let words = format!("local {} --workers {workers} --ps {}", flags(run), run.n_ps);
    Folder::new().bits_of(&words)
}

/// The fault of one worker in a cluster of processes.
#[derive(Clone, Copy, Debug)]
enum WorkerFault {
    /// SIGKILL, and then a restart.
    Killed,
    /// SIGSTOP, and then SIGCONT.
    Paused,
}

/// Runs a cluster of processes, with a fault of one worker in the middle of the run.
fn disturbed_cluster(run: &RunConfig, worker: usize, fault: WorkerFault) -> Bits {
    Bits::read(&disturb(run, worker, fault).logdir())
}

/// Runs such a cluster, and returns the folder with its files.
fn disturb(run: &RunConfig, worker: usize, fault: WorkerFault) -> Folder {
    let folder = Folder::new();
    let n_workers = run.sync.total_num_replicas as usize;
    let cluster = HandStarted::new(run.n_ps as usize, n_workers, &flags(run), folder.logdir());
    let ps: Vec<_> = (0..run.n_ps as usize).map(|index| cluster.start(Role::Ps(index))).collect();
    let mut workers: BTreeMap<usize, Process> =
        (0..n_workers).map(|index| (index, cluster.start(Role::Worker(index)))).collect();
    wait_until("the first losses", || n_rows(&folder) > 10);
    let victim = workers.remove(&worker).expect("the cluster has this worker");
    let victim = match fault {
        WorkerFault::Killed => {
            victim.signal("KILL");
            assert_eq!(victim.wait().status.code(), None);
            assert!(n_rows(&folder) < n_rows_at_end(run), "the worker was killed too late");
            cluster.start(Role::Worker(worker))
        }
        WorkerFault::Paused => {
            victim.signal("STOP");
            wait_until("the worker is stopped", || is_stopped(victim.pid()));
            assert!(n_rows(&folder) < n_rows_at_end(run), "the worker was paused too late");
            victim.signal("CONT");
            victim
        }
    };
    for task in ps.into_iter().chain(workers.into_values()).chain([victim]) {
        task.wait().expect_code(0);
    }
    folder
}

fn n_rows(folder: &Folder) -> usize {
    let losses = std::fs::read_to_string(folder.logdir().join("losses.csv")).unwrap_or_default();
    losses.lines().count().saturating_sub(1)
}

fn n_rows_at_end(run: &RunConfig) -> usize {
    run.train.training_steps as usize * run.sync.replicas_to_aggregate as usize
}

/// Returns whether a process is stopped.
fn is_stopped(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

#[test]
fn run_without_faults_is_the_same_in_one_loop_simulated_and_over_tcp() {
    for name in ["clean.toml", "several-batches.toml", "straggler.toml", "compute-pareto.toml"] {
        let scenario = load(name);
        let expected = reference(&scenario.run);
        for seed in 0..3 {
            simulated(&scenario, seed).assert_same(&expected, &format!("{name}, simulated"));
        }
        cluster(&scenario.run).assert_same(&expected, &format!("{name}, over TCP"));
    }
}

/// All these scenarios have one training configuration. Their faults differ, and must not matter.
#[test]
fn crash_or_pause_of_a_worker_changes_no_bit_simulated_or_over_tcp() {
    let names = [
        "worker-crash-after-pushes.toml",
        "worker-crash-before-version.toml",
        "worker-crash-between-pushes.toml",
        "worker-crash-computing.toml",
        "worker-crash-waiting.toml",
        "chief-crash.toml",
        "long-pause.toml",
        "ps-pause.toml",
    ];
    let run = long(names[0]).run;
    let expected = reference(&run);
    for name in names {
        let scenario = long(name);
        assert_eq!(scenario.run, run, "{name}");
        simulated(&scenario, 1).assert_same(&expected, &format!("{name}, simulated"));
    }
    for (worker, fault) in [
        (1, WorkerFault::Killed),
        (1, WorkerFault::Paused),
        (0, WorkerFault::Killed),
        (0, WorkerFault::Paused),
    ] {
        let of = format!("worker {worker} is {fault:?} over TCP");
        disturbed_cluster(&run, worker, fault).assert_same(&expected, &of);
    }
}

/// Timing selects the slots of each update. Each run, simulated or real, is compared with one loop
/// that uses the slots of the same run.
#[test]
fn run_with_backup_workers_equals_one_loop_that_uses_the_same_slots() {
    let scenario = load("backup-workers.toml");
    let killed = long("backup-workers.toml");
    for (of, scenario, bits) in [
        ("simulated", &scenario, simulated(&scenario, 1)),
        ("over TCP", &scenario, cluster(&scenario.run)),
        ("killed over TCP", &killed, disturbed_cluster(&killed.run, 3, WorkerFault::Killed)),
        ("paused over TCP", &killed, disturbed_cluster(&killed.run, 2, WorkerFault::Paused)),
    ] {
        let n_updates = scenario.run.train.training_steps as usize;
        assert_eq!(bits.rows().len(), 3 * n_updates, "{of}");
        bits.assert_same(&one_loop(&scenario.run, &bits), of);
    }
}

/// Recomputes a run in one loop, with the slots of the run.
fn one_loop(run: &RunConfig, bits: &Bits) -> Bits {
    let cache = caches().for_run(run).expect("the data fit the configuration");
    let mut reference = Reference::new(cache.plan(), (**cache.initial()).clone());
    let mut rows = Vec::new();
    for of_step in bits.rows().chunk_by(|a, b| a.0 == b.0) {
        let slots: Vec<_> = of_step.iter().map(|(_, slot, _)| Slot(*slot)).collect();
        assert!(slots.is_sorted() && slots.len() == 3, "{slots:?}");
        let update = reference.update(slots).expect("the losses are finite");
        assert_eq!(update.cut.step, Step(of_step[0].0));
        rows.extend(update.losses.iter().map(|(slot, loss)| (update.cut.step, *slot, *loss)));
    }
    keep(cache.plan(), &rows, reference.snapshot())
}
