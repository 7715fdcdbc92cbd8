//! One loop, the simulator, and processes over TCP: the same losses and the same final tensors, to
//! the bit, whatever happens to whom on the way.
//!
//! Scenario files are played in the simulator; their training configurations are run by the
//! production program, where faults are real signals to real processes. All three leave their files
//! by way of the production code, and those are compared.

#![allow(missing_docs, reason = "a test program")]
#![allow(dead_code, reason = "it uses a part of what the other tests of the program share")]

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

use unisono_config::RunConfig;
use unisono_core::protocol::{Snapshot, UpdateRecord};
use unisono_core::{Generation, Slot, Step};
use unisono_files::checkpoint::RunFiles;
use unisono_files::disk::real_disk::RealDisk;
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
use crate::support::{labs, passed};

/// Real processes make some thousand updates a second: with so many, a signal that is sent when the
/// first losses are there comes long before the last ones.
const LONG: u64 = 1_500;

fn load(name: &str) -> Scenario {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let source = Source::load(&std::path::Path::new(folder).join(name));
    let source = source.unwrap_or_else(|error| panic!("{error}"));
    Arc::unwrap_or_clone(source.scenario)
}

/// A scenario of the repository, made so long.
fn long(name: &str) -> Scenario {
    let mut scenario = load(name);
    scenario.run.train.training_steps = LONG;
    // What it expects is for the length that it has; here the losses are all that counts.
    scenario.expect = Expect { oracle: scenario.expect.oracle, ..Expect::default() };
    scenario
}

/// The files of a run of which the updates and the end are known.
fn keep(plan: &Plan, rows: &[(Step, Slot, f32)], end: &Snapshot) -> Bits {
    let folder = Folder::new();
    let config = plan.files(&folder.logdir(), None).expect("the model has initial values");
    let (mut files, _) = RunFiles::open(Arc::new(RealDisk), config).expect("a folder can be made");
    for rows in rows.chunk_by(|a, b| a.0 == b.0) {
        let losses = rows.iter().map(|(_, slot, loss)| (*slot, *loss)).collect();
        let update = UpdateRecord { generation: Generation::default(), step: rows[0].0, losses };
        files.losses().record(&update).expect("the disk takes it");
    }
    files.persist(end).expect("the disk takes it");
    Bits::read(&folder.logdir())
}

fn simulated(scenario: &Scenario, seed: u64) -> Bits {
    let played = passed(play(&Arc::new(scenario.clone()), seed, labs(), PlayOptions::default()));
    let lab = labs().of(&scenario.run).expect("the data do for it");
    keep(lab.plan(), &played.losses, &played.checkpoint.expect("a run ends with a checkpoint"))
}

/// The flags that give a run its settings. All else is as good with its default.
fn flags(run: &RunConfig) -> String {
    let settings = run.settings();
    let has_flag = |(key, text): &(&str, &str)| {
        !["ps", "workers"].contains(key) && (*key, *text) != ("validation_size", "default")
    };
    let settings = settings.iter().filter(has_flag);
    let flags = settings.map(|(key, text)| format!("--{}={text}", key.replace('_', "-")));
    flags.chain(["--progress=none".to_owned()]).collect::<Vec<_>>().join(" ")
}

fn reference(run: &RunConfig) -> Bits {
    let workers = run.sync.total_num_replicas;
    let words = format!("reference {} --workers {workers} --ps {}", flags(run), run.n_ps);
    Folder::new().bits_of(&words)
}

/// A cluster of processes that nothing happens to.
fn cluster(run: &RunConfig) -> Bits {
    let workers = run.sync.total_num_replicas;
    let words = format!("local {} --workers {workers} --ps {}", flags(run), run.n_ps);
    Folder::new().bits_of(&words)
}

/// What happens to one worker of a cluster of processes.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// SIGKILL; then it is started again.
    Killed,
    /// SIGSTOP; then SIGCONT.
    Paused,
}

/// A cluster of processes, one worker of which something happens to in the middle of the run.
fn disturbed_cluster(run: &RunConfig, worker: usize, happens: Happens) -> Bits {
    Bits::read(&disturb(run, worker, happens).logdir())
}

/// The folder in which such a cluster has left its files.
fn disturb(run: &RunConfig, worker: usize, happens: Happens) -> Folder {
    let folder = Folder::new();
    let n_workers = run.sync.total_num_replicas as usize;
    let cluster = HandStarted::new(run.n_ps as usize, n_workers, &flags(run), folder.logdir());
    let ps: Vec<_> = (0..run.n_ps as usize).map(|index| cluster.start(Role::Ps(index))).collect();
    let mut workers: BTreeMap<usize, Process> =
        (0..n_workers).map(|index| (index, cluster.start(Role::Worker(index)))).collect();
    wait_until("the first losses", || n_rows(&folder) > 10);
    let victim = workers.remove(&worker).expect("it is one of them");
    let victim = match happens {
        Happens::Killed => {
            victim.signal("KILL");
            assert_eq!(victim.wait().status.code(), None);
            assert!(n_rows(&folder) < n_rows_at_end(run), "it was killed too late");
            cluster.start(Role::Worker(worker))
        }
        Happens::Paused => {
            victim.signal("STOP");
            wait_until("it stands still", || is_stopped(victim.pid()));
            assert!(n_rows(&folder) < n_rows_at_end(run), "it was paused too late");
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

/// Whether the kernel says that a process is stopped.
fn is_stopped(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

#[test]
fn a_clean_run_and_several_batches_are_the_same_three_ways() {
    for name in ["clean.toml", "several-batches.toml", "straggler.toml", "compute-pareto.toml"] {
        let scenario = load(name);
        let expected = reference(&scenario.run);
        for seed in 0..3 {
            simulated(&scenario, seed).assert_same(&expected, &format!("{name}, simulated"));
        }
        cluster(&scenario.run).assert_same(&expected, &format!("{name}, over TCP"));
    }
}

/// The scenarios have one training configuration: what happens in them differs, and does not matter.
#[test]
fn a_worker_that_dies_or_pauses_changes_no_bit_three_ways() {
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
    for (worker, happens) in
        [(1, Happens::Killed), (1, Happens::Paused), (0, Happens::Killed), (0, Happens::Paused)]
    {
        let of = format!("worker {worker} is {happens:?} over TCP");
        disturbed_cluster(&run, worker, happens).assert_same(&expected, &of);
    }
}

/// Timing chooses which slots an update uses: each run, simulated or real, is compared with one
/// loop that uses the slots of that very run.
#[test]
fn with_backup_workers_each_run_is_the_one_of_its_slots() {
    let scenario = load("backup-workers.toml");
    let killed = long("backup-workers.toml");
    for (of, scenario, bits) in [
        ("simulated", &scenario, simulated(&scenario, 1)),
        ("over TCP", &scenario, cluster(&scenario.run)),
        ("killed over TCP", &killed, disturbed_cluster(&killed.run, 3, Happens::Killed)),
        ("paused over TCP", &killed, disturbed_cluster(&killed.run, 2, Happens::Paused)),
    ] {
        let n_updates = scenario.run.train.training_steps as usize;
        assert_eq!(bits.rows().len(), 3 * n_updates, "{of}");
        bits.assert_same(&one_loop(&scenario.run, &bits), of);
    }
}

/// The run in one loop with the slots of a run.
fn one_loop(run: &RunConfig, bits: &Bits) -> Bits {
    let lab = labs().of(run).expect("the data do for it");
    let mut reference = Reference::new(lab.plan().clone(), (**lab.initial()).clone());
    let mut rows = Vec::new();
    for of_step in bits.rows().chunk_by(|a, b| a.0 == b.0) {
        let slots: Vec<_> = of_step.iter().map(|(_, slot, _)| Slot(*slot)).collect();
        assert!(slots.is_sorted() && slots.len() == 3, "{slots:?}");
        let update = reference.update(slots).expect("the losses are finite");
        assert_eq!(update.step, Step(of_step[0].0));
        rows.extend(update.losses.iter().map(|(slot, loss)| (update.step, *slot, *loss)));
    }
    keep(lab.plan(), &rows, reference.snapshot())
}
