//! Files that are damaged during a run or before its start.

use std::fs;
use std::path::Path;

use crate::support::{Bits, Folder, bits_of, send, task_of_local};
use crate::watched::{FLAGS, Watched, checkpoint};

/// Flags of momentum. Only the ps of a shard holds its momentum buffers, so a lost shard can be
/// restored only from a checkpoint.
const MOMENTUM: &str = "--optimizer momentum --momentum 0.9";

/// Returns a folder with a run of 20 steps and its checkpoints of steps 10 and 20.
fn folder_with_two(flags: &str) -> Folder {
    let folder = Folder::new();
    for steps in [10, 20] {
        folder.run(&format!("reference {flags} --training-steps {steps}")).expect_code(0);
    }
    folder
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).expect("the file exists");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("the file can be written");
}

fn tear(path: &Path) {
    let bytes = fs::read(path).expect("the file exists");
    fs::write(path, &bytes[..bytes.len() / 2]).expect("the file can be written");
}

#[test]
fn checkpoint_damaged_during_a_run_is_skipped_when_a_ps_dies() {
    for damage in [flip_a_bit, tear] {
        let flags = format!("{FLAGS} {MOMENTUM} --save-model-secs 0");
        let folder = folder_with_two(&flags);
        let flags = format!("{flags} --training-steps 1500");
        let command = folder.command(&format!("local --supervise {flags}"));
        let mut watched = Watched::start(command, &folder.logdir());
        watched.wait_for_progress();
        damage(&checkpoint(&folder.logdir(), 20));
        send("KILL", task_of_local(folder.path(), "ps", 1));

        let ended = watched.end();
        ended.expect_code(0).expect_stderr(&[
            "model.ckpt-20.safetensors.\n",
            "ps 1 has lost its shard: all tasks go back to the newest checkpoint",
            "model.ckpt-20.safetensors is skipped: ",
            "model.ckpt-10.safetensors is used instead",
            "model.ckpt-10.safetensors.\n",
        ]);
        let expected = bits_of(&format!("reference {flags}"));
        Bits::read(&folder.logdir()).assert_same_files(&expected, "after the older checkpoint");
    }
}

#[test]
fn folder_in_place_of_the_state_file_is_reported_and_costs_no_step() {
    let folder = folder_with_two(FLAGS);
    let state = folder.logdir().join("checkpoint");
    fs::remove_file(&state).expect("the file exists");
    fs::create_dir(&state).expect("a folder can be made");

    let flags = format!("{FLAGS} --save-model-secs 0.2 --training-steps 1500");
    let mut watched = Watched::start(folder.command(&format!("local {flags}")), &folder.logdir());
    watched.wait_for_log("/checkpoint: ", 0);
    watched.wait_for_log("model.ckpt-20.safetensors.\n", 0);
    watched.wait_for_log(" could not be written: ", 0);
    watched.wait_for_log("another kind of file is at this path", 0);
    watched.wait_for_losses();
    fs::remove_dir(&state).expect("the folder still exists and is empty");

    watched.end().expect_code(0);
    let expected = bits_of(&format!("reference {flags}"));
    Bits::read(&folder.logdir())
        .assert_same_files(&expected, "once the state file could be written");
}

#[test]
fn unreadable_state_file_is_reported_and_replaced() {
    let folder = folder_with_two(FLAGS);
    // A link to itself: even root, who may read files of any mode, cannot open it.
    let state = folder.logdir().join("checkpoint");
    fs::remove_file(&state).expect("the file exists");
    std::os::unix::fs::symlink(&state, &state).expect("a link can be made");

    let flags = format!("{FLAGS} --training-steps 30");
    let ended = folder.run(&format!("local {flags}"));
    ended.expect_code(0).expect_stderr(&["/checkpoint: ", "model.ckpt-20.safetensors.\n"]);
    let expected = bits_of(&format!("reference {flags}"));
    Bits::read(&folder.logdir()).assert_same_files(&expected, "with another state file");
}
