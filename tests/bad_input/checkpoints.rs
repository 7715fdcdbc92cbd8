//! Logdirs with damaged checkpoints, or with checkpoints of another model.

use std::fs;
use std::path::PathBuf;

use crate::support::{Bits, Folder, Listing, bits_of};

const SMALL: &str = "--hidden 16 --batch-size 20 --progress none";

/// Returns a folder with a run of 15 steps and its checkpoints of steps 5, 10 and 15.
fn folder_with_three() -> Folder {
    let folder = Folder::new();
    for steps in [5, 10, 15] {
        folder.run(&format!("reference {SMALL} --training-steps {steps}")).expect_code(0);
    }
    folder
}

fn checkpoint(folder: &Folder, step: u64) -> PathBuf {
    folder.logdir().join(format!("model.ckpt-{step}.safetensors"))
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    FlippedBit,
    Cut,
    Empty,
    Gone,
}

fn damage(path: &PathBuf, how: Damage) {
    let mut bytes = fs::read(path).expect("the checkpoint exists");
    let middle = bytes.len() / 2;
    match how {
        Damage::FlippedBit => bytes[middle] ^= 0x10,
        Damage::Cut => bytes.truncate(middle),
        Damage::Empty => bytes.clear(),
        Damage::Gone => return fs::remove_file(path).expect("the checkpoint exists"),
    }
    fs::write(path, bytes).expect("the checkpoint can be written");
}

#[test]
fn run_resumes_from_the_checkpoint_before_a_damaged_one_with_the_same_bits() {
    let expected = bits_of(&format!("reference {SMALL} --training-steps 20"));
    for (command, how) in [
        ("local", Damage::FlippedBit),
        ("reference", Damage::FlippedBit),
        ("local", Damage::Cut),
        ("local", Damage::Empty),
        ("local", Damage::Gone),
    ] {
        let folder = folder_with_three();
        damage(&checkpoint(&folder, 15), how);
        let ended = folder.run(&format!("{command} {SMALL} --training-steps 20"));
        let message =
            ["model.ckpt-15.safetensors is skipped: ", "model.ckpt-10.safetensors is used"];
        ended.expect_code(0).expect_stderr(&message);
        let bits = Bits::read(&folder.logdir());
        bits.assert_same(&expected, &format!("{command}, {how:?}"));
    }
}

#[test]
fn unreadable_state_file_is_reported_and_the_newest_checkpoint_is_used() {
    let expected = bits_of(&format!("reference {SMALL} --training-steps 20"));
    for text in ["", "model_checkpoint_pa", "model_checkpoint_path: \"/elsewhere/x\"\n"] {
        let folder = folder_with_three();
        fs::write(folder.logdir().join("checkpoint"), text).expect("the file can be written");
        let ended = folder.run(&format!("local {SMALL} --training-steps 20"));
        let message = ["/checkpoint: ", "Restored from ", "model.ckpt-15.safetensors."];
        ended.expect_code(0).expect_stderr(&message);
        Bits::read(&folder.logdir()).assert_same(&expected, text);
    }
}

#[test]
fn run_whose_checkpoints_are_all_damaged_trains_and_overwrites_nothing() {
    for command in ["local", "reference", "eval"] {
        let folder = folder_with_three();
        for (step, how) in [(5, Damage::FlippedBit), (10, Damage::Cut), (15, Damage::Empty)] {
            damage(&checkpoint(&folder, step), how);
        }
        let before = Listing::of(folder.path());
        let flags = if command == "eval" { "" } else { "--training-steps 20" };
        let small = if command == "eval" { "" } else { SMALL };
        let ended = folder.run(&format!("{command} {small} {flags}"));
        ended.expect_code(1).expect_stderr(&[
            "no checkpoint in ",
            "model.ckpt-5.safetensors: ",
            "it is corrupt",
            "model.ckpt-10.safetensors: ",
            "it is torn",
            "model.ckpt-15.safetensors: ",
            "restore a good copy, or choose another --logdir",
        ]);
        before.assert_unchanged(folder.path());
    }
}

#[test]
fn checkpoint_of_other_settings_is_refused_with_both_values() {
    let folder = folder_with_three();
    let before = Listing::of(folder.path());
    let of_another_run = "model.ckpt-15.safetensors belongs to another run: it was trained with ";
    for (flags, message) in [
        (
            "--batch-size 10 --seed 7",
            "batch_size = 20 (this run: 10), with seed = 1 (this run: 7); to start",
        ),
        (
            "--batch-size 20 --learning-rate 0.5",
            "learning_rate = 0.01 (this run: 0.5); to start a new run, use --fresh",
        ),
        ("--batch-size 20 --workers 3", "replicas_to_aggregate = 2 (this run: 3); to start"),
        (
            "--batch-size 20 --workers 3 --replicas-to-aggregate 2",
            "at most 2 workers (this run: 3); to start",
        ),
    ] {
        for command in ["reference", "local", "local --supervise"] {
            let small = "--hidden 16 --progress none --training-steps 20";
            let ended = folder.run(&format!("{command} {small} {flags}"));
            ended.expect_code(1).expect_stderr(&[of_another_run, message]);
            before.assert_unchanged(folder.path());
        }
    }
}

#[test]
fn checkpoint_that_does_not_fit_the_model_is_refused_even_if_changes_are_allowed() {
    let folder = folder_with_three();
    let before = Listing::of(folder.path());
    let small = "--batch-size 20 --allow-changed-settings";
    for (flags, message) in [
        ("--hidden 20", ["hidden = 16 (this run: 20); tensor ", "has shape [16]", "[20]"]),
        ("--hidden 16,16", ["hidden = 16 (this run: 16,16); tensor ", "layer2/biases", "[10]"]),
        (
            "--hidden 16 --optimizer adam",
            ["optimizer = ", "layer1/biases/Adam", "but not in the checkpoint"],
        ),
        (
            "--hidden 16 --moving-average-decay 0.9",
            [
                "moving_average_decay = ",
                "layer1/biases/ExponentialMovingAverage",
                "but not in the checkpoint",
            ],
        ),
        (
            "--hidden 16 --training-steps 14",
            ["is of step 15", "is 14: give 15 or more", "--logdir"],
        ),
    ] {
        for command in ["reference", "local"] {
            let ended = folder.run(&format!("{command} {small} {flags}"));
            ended.expect_code(1).expect_stderr(&["model.ckpt-15.safetensors cannot be used"]);
            ended.expect_stderr(&message);
            before.assert_unchanged(folder.path());
        }
    }
}

#[test]
fn cluster_of_another_layout_resumes_to_the_same_bits() {
    let words = format!("{SMALL} --replicas-to-aggregate 2 --training-steps 20");
    let expected = bits_of(&format!("reference {words}"));
    let folder = folder_with_three();
    let resumed =
        folder.bits_of(&format!("local {words} --ps 3 --workers 1 --placement round-robin"));
    resumed.assert_same(&expected, "another layout");
}

/// Losses up to step 15 are those of the first learning rate, later losses those of the second.
#[test]
fn allowed_changes_of_settings_are_reported_and_take_effect_after_the_checkpoint() {
    let slower = format!("{SMALL} --training-steps 20 --learning-rate 0.001");
    let bits = ["reference", "local"].map(|command| {
        let folder = folder_with_three();
        let before =
            fs::read_to_string(folder.logdir().join("losses.csv")).expect("the file exists");
        let ended = folder.run(&format!("{command} {slower} --allow-changed-settings"));
        let message = ["learning_rate = 0.01 (this run: 0.001); continuing from it"];
        ended.expect_code(0).expect_stderr(&message);
        let after =
            fs::read_to_string(folder.logdir().join("losses.csv")).expect("the file exists");
        assert!(after.starts_with(&before) && after.lines().count() == 1 + 40, "{command}");
        // The newest checkpoint is now one of the new settings, so no flag is needed.
        folder.run(&format!("{command} {slower}")).expect_code(0);
        Bits::read(&folder.logdir())
    });
    bits[0].assert_same(&bits[1], "reference and local");
    let unchanged = bits_of(&format!("reference {SMALL} --training-steps 20"));
    assert!(bits[0] != unchanged, "the learning rate changes bits");
}

#[test]
fn foreign_file_in_place_of_the_losses_is_not_overwritten() {
    for command in ["reference", "local"] {
        let folder = Folder::new();
        fs::create_dir(folder.logdir()).expect("a folder can be made");
        fs::write(folder.logdir().join("losses.csv"), "my,own,table\n")
            .expect("the file can be written");
        let before = Listing::of(folder.path());
        let ended = folder.run(&format!("{command} {SMALL} --training-steps 5"));
        ended.expect_code(1).expect_stderr(&["it is not a losses file"]);
        before.assert_unchanged(folder.path());
    }
}
