//! A second start in the same logdir: a finished run, a run with other settings, and `--fresh`.

use std::fs;

use crate::support::{Bits, Folder, Process, unisono};

const SMALL: &str = "--hidden 8 --batch-size 20 --training-steps 12 --progress none";

fn bytes(folder: &Folder, name: &str) -> Vec<u8> {
    fs::read(folder.logdir().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn restart_of_a_finished_run_reports_that_and_succeeds() {
    for command in ["reference", "local"] {
        let folder = Folder::new();
        let first = folder.run(&format!("{command} {SMALL}"));
        assert!(!first.expect_code(0).stderr.contains("already finished"), "{}", first.stderr);
        let before = ["losses.csv", "model.ckpt-12.safetensors"].map(|name| bytes(&folder, name));
        let again = folder.run(&format!("{command} {SMALL}"));
        let message = "is already finished at step 12; use --fresh or another --logdir.";
        again.expect_code(0).expect_stderr(&[message]);
        assert!(again.stdout.contains("After 12 training steps, validation"), "{}", again.stdout);
        let after = ["losses.csv", "model.ckpt-12.safetensors"].map(|name| bytes(&folder, name));
        assert_eq!(before, after);
    }
}

#[test]
fn fresh_keeps_the_old_run_and_trains_a_new_one_from_step_0() {
    for command in ["reference", "local"] {
        let folder = Folder::new();
        folder.run(&format!("{command} {SMALL} --ledger --trace")).expect_code(0);
        let names = ["losses.csv", "model.ckpt-12.safetensors", "checkpoint"];
        let old = names.map(|name| bytes(&folder, name));

        let other = format!("{command} {SMALL} --seed 7 --ledger --trace");
        folder
            .run(&other)
            .expect_error(1, &["seed = 1 (this run: 7)", "--fresh", "another --logdir"]);
        let ended = folder.run(&format!("{other} --fresh"));
        let message = ["The old run in ", "logdir/previous-1."];
        ended.expect_code(0).expect_stderr(&message);

        let expected = crate::support::bits_of(&format!("reference {SMALL} --seed 7"));
        Bits::read(&folder.logdir()).assert_same(&expected, command);
        let moved = names.map(|name| bytes(&folder, &format!("previous-1/{name}")));
        assert_eq!(moved, old, "{command}");
        if command == "local" {
            // Ledgers and traces were moved, too. The new ones contain only the new run.
            let mut audit = unisono("audit");
            audit.arg(folder.logdir());
            Process::start(audit).wait().expect_code(0);
            assert!(!bytes(&folder, "previous-1/ledger-ps0.jsonl").is_empty());
            assert!(!bytes(&folder, "previous-1/trace-worker1.jsonl").is_empty());
        }
        folder.run(&format!("{other} --fresh")).expect_stderr(&["logdir/previous-2."]);
        Bits::read(&folder.logdir()).assert_same(&expected, command);
    }
}

#[test]
fn fresh_moves_nothing_if_the_logdir_is_in_use_or_the_start_fails() {
    let folder = Folder::new();
    folder.run(&format!("reference {SMALL}")).expect_code(0);
    let before = crate::support::Listing::of(&folder.logdir());

    let missing = folder.join("no-data");
    let words = format!("{SMALL} --fresh --data-dir {}", missing.display());
    for command in ["reference", "local"] {
        folder.run(&format!("{command} {words}")).expect_error(1, &["there is no folder "]);
    }
    let logdir = fs::File::open(folder.logdir()).expect("the logdir");
    logdir.lock().expect("the logdir can be locked");
    for command in ["reference", "local"] {
        let ended = folder.run(&format!("{command} {SMALL} --fresh"));
        ended.expect_error(1, &["another process is writing to "]);
    }
    before.assert_unchanged(&folder.logdir());
}

#[test]
fn run_with_backup_workers_warns_that_timing_chooses_the_gradients() {
    let message = ["timing chooses the gradients", "`unisono-sim replay --ledger"];
    let folder = Folder::new();
    let backup = format!("{SMALL} --replicas-to-aggregate 1 --workers 2");
    folder.run(&format!("local {backup}")).expect_code(0).expect_stderr(&message);
    let serial = Folder::new();
    let ended = serial.run(&format!("reference {backup}"));
    ended.expect_code(0).expect_stderr(&["timing chooses the slots."]);
    let all = Folder::new().run(&format!("local {SMALL} --workers 2"));
    assert!(!all.expect_code(0).stderr.contains("timing"), "{}", all.stderr);
}
