//! A run of real processes whose slots timing selected is proved exact from its ledgers: the
//! ledgers break no rule, and one loop recomputes the same versions from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use unisono_config::RunConfig;
use unisono_core::{Slot, Step};
use unisono_observe::ledger;
use unisono_observe::ledger::line::UpdateMade;
use unisono_observe::ledger::{Ledger, Line, StateHash};

use crate::process::{Ended, Process};
use crate::program::{Folder, unisono};
use crate::{WorkerFault, disturb, long};

/// Runs the scenario with backup workers over TCP with ledgers, and kills one worker.
fn run_with_ledgers() -> Folder {
    let run = RunConfig { ledger: true, ..long("backup-workers.toml").run };
    assert!(run.sync.replicas_to_aggregate < run.sync.total_num_replicas && run.n_ps > 1);
    disturb(&run, 3, WorkerFault::Killed)
}

fn audit(logdir: &Path) -> Ended {
    let mut command = unisono("audit");
    command.arg(logdir);
    Process::start(command).wait()
}

fn replay(logdir: &Path, words: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unisono-sim"));
    command.args(words.split_whitespace()).arg("--ledger").arg(logdir);
    Process::start(command).wait()
}

/// Copies the ledgers, and changes every update of a step.
fn spoiled(logdir: &Path, step: u64, spoil: impl Fn(u32, &mut UpdateMade)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for mut ledger in ledger::read_all(logdir).expect("there are ledgers") {
        for line in &mut ledger.lines {
            if let Line::Update(update) = line
                && update.step == Step(step)
            {
                spoil(ledger.ps, update);
            }
        }
        write(&ledger, folder.path());
    }
    folder
}

fn write(ledger: &Ledger, folder: &Path) -> PathBuf {
    let path = folder.join(ledger::file_name(ledger.ps));
    let text: String = ledger.lines.iter().map(|line| line.to_text() + "\n").collect();
    fs::write(&path, text).expect("the ledger can be written");
    path
}

#[test]
fn replay_proves_a_real_run_exact_and_finds_one_wrong_number() {
    let folder = run_with_ledgers();
    let logdir = folder.logdir();
    audit(&logdir).expect_code(0);
    let same = replay(&logdir, "replay");
    same.expect_code(0);
    assert!(same.stdout.starts_with("The same to the bit: versions 0 to 1500"), "{}", same.stdout);

    // Each shard has two hashes per update, the state before and after it, and the losses.
    let run = long("backup-workers.toml").run;
    let per_shard = 1500 * u64::from(run.n_ps);
    let n_losses = per_shard * u64::from(run.sync.replicas_to_aggregate);
    let json = replay(&logdir, "replay --json");
    json.expect_code(0);
    let document: Value = serde_json::from_str(&json.stdout).expect("one JSON document");
    assert_eq!(document["n_hashes"], 2 * per_shard);
    assert_eq!(document["n_losses"], n_losses);
    assert!(document["n_checkpoints"].as_u64() > Some(0), "at least the last checkpoint");

    // One wrong hash: the audit finds that the next update does not continue from it.
    let torn = spoiled(&logdir, 700, |ps, update| {
        if ps == 1 {
            update.after = StateHash(update.after.0 ^ 1);
        }
    });
    for told in [replay(torn.path(), "replay"), audit(torn.path())] {
        told.expect_code(1);
        assert!(told.stdout.contains("is broken at step 701, "), "{}", told.stdout);
    }

    // A wrong slot, the same in all ledgers: no rule is broken, but the losses differ.
    let n_slots = run.sync.total_num_replicas;
    let forged = spoiled(&logdir, 700, |_, update| {
        let used: Vec<_> = update.slot_numbers().collect();
        let other = (0..n_slots).map(Slot).find(|slot| !used.contains(slot)).expect("N is above R");
        update.slots.last_mut().expect("R is above 0").slot = other;
        update.slots.sort_by_key(|used| used.slot);
    });
    audit(forged.path()).expect_code(0);
    let told = replay(forged.path(), "replay");
    told.expect_code(1);
    let of_slot = "DIVERGES: the loss of slot";
    assert!(told.stdout.starts_with(of_slot) && told.stdout.contains(" at step 700 differs from"));
}

#[test]
fn replay_without_ledgers_reports_the_missing_file() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let nothing = replay(folder.path(), "replay");
    nothing.expect_code(2);
    assert!(nothing.stderr.contains("there is no ledger-psN.jsonl"), "{}", nothing.stderr);
}
