//! Losses and logdirs that somebody removes, cuts or moves, during a run and between two starts.

use std::fs::{self, File};
use std::path::Path;

use crate::support::{Bits, Folder, Listing, Process, bits_of};
use crate::watched::{ENDLESS, FLAGS, Watched};

fn losses(folder: &Folder) -> std::path::PathBuf {
    folder.logdir().join("losses.csv")
}

fn cut(path: &Path) {
    let file = File::options().write(true).open(path).expect("it is there");
    let len = file.metadata().expect("it is a file").len();
    file.set_len(len / 2).expect("it can be cut");
}

fn replace(path: &Path) {
    let other = path.with_extension("other");
    fs::write(&other, "step,slot,loss\n0,0,1\n").expect("it can be written");
    fs::rename(other, path).expect("it can be moved");
}

#[test]
fn losses_that_are_lost_under_a_run_are_told_and_written_again() {
    let flags = format!("{FLAGS} --save-model-secs 0.2 --training-steps 1500");
    let expected = bits_of(&format!("reference {flags}"));
    let remove = |path: &Path| fs::remove_file(path).expect("it is there");
    for harm in [&remove as &dyn Fn(&Path), &cut, &replace] {
        let folder = Folder::new();
        let command = folder.command(&format!("local {flags}"));
        let mut watched = Watched::start(command, &folder.logdir());
        watched.wait_for_losses();
        harm(&losses(&folder));
        watched.wait_until_it_says("all rows were rewritten", 0);
        watched.end().expect_code(0);
        Bits::read(&folder.logdir()).assert_same_files(&expected, "with losses that were lost");
    }
}

#[test]
fn a_run_whose_logdir_was_moved_says_so_and_writes_nothing_into_the_one_in_its_place() {
    let folder = Folder::new();
    let mut first =
        Watched::start(folder.command(&format!("local --ledger {ENDLESS}")), &folder.logdir());
    first.wait_for_a_checkpoint();
    let away = folder.join("away");
    fs::rename(folder.logdir(), &away).expect("it can be moved");
    first.wait_until_it_says("the logdir was moved, removed or replaced", 0);
    first.wait_until_it_says("move it back, or stop this run", 0);
    first.wait_until_it_says("the ledger ends here", 0);

    let flags = format!("{FLAGS} --training-steps 30");
    let expected = bits_of(&format!("reference {flags}"));
    folder.bits_of(&format!("local {flags}")).assert_same_files(&expected, "in its place");
    let theirs = Listing::of(&folder.logdir());
    first.wait_for_progress();
    theirs.assert_unchanged(&folder.logdir());

    // Back in its place, the run catches up.
    fs::rename(folder.logdir(), folder.join("theirs")).expect("it can be moved");
    fs::rename(&away, folder.logdir()).expect("it can be moved");
    first.wait_for_losses();
    first.wait_for_a_checkpoint();
}

/// A run of 20 steps whose losses were removed.
fn folder_without_losses(words: &str) -> Folder {
    let folder = Folder::new();
    folder.run(&format!("{words} {FLAGS} --training-steps 20")).expect_code(0);
    fs::remove_file(losses(&folder)).expect("there are losses");
    folder
}

#[test]
fn losses_that_are_gone_at_the_start_come_back_from_the_ledgers() {
    let more = format!("{FLAGS} --training-steps 30");
    let expected = bits_of(&format!("reference {more}"));
    for words in ["local --ledger", "local --ledger --supervise"] {
        let folder = folder_without_losses(words);
        let ended = folder.run(&format!("{words} {more}"));
        ended.expect_code(0).expect_stderr(&[
            "losses.csv lacked losses of steps 0 to 19: they were restored from the ledgers",
            "model.ckpt-20.safetensors.\n",
        ]);
        Bits::read(&folder.logdir()).assert_same_files(&expected, words);
    }
}

#[test]
fn a_checkpoint_without_its_losses_is_skipped_for_one_that_has_them() {
    let folder = folder_without_losses("local");
    let more = format!("{FLAGS} --training-steps 30");
    let ended = folder.run(&format!("local {more}"));
    ended.expect_code(0).expect_stderr(&[
        "model.ckpt-20.safetensors is skipped: losses.csv lacks losses of steps 0 to 19",
        "model.ckpt-0.safetensors is used instead",
    ]);
    let expected = bits_of(&format!("reference {more}"));
    Bits::read(&folder.logdir()).assert_same_files(&expected, "made again");
}

#[test]
fn a_run_without_its_losses_is_refused_and_changes_nothing_until_they_are_back_or_given_up() {
    let more = format!("{FLAGS} --training-steps 30");
    for command in ["local", "local --supervise", "reference"] {
        let folder = folder_without_losses("reference");
        let before = Listing::of(&folder.logdir());
        let refused = folder.run(&format!("{command} {more}"));
        refused.expect_error(
            1,
            &["has the losses of every step before it", "steps 0 to 19", "restore losses.csv"],
        );
        before.assert_unchanged(&folder.logdir());

        let told = folder.run(&format!("{command} {more} --allow-missing-losses"));
        told.expect_code(0).expect_stderr(&["because of --allow-missing-losses"]);
        let reference = bits_of(&format!("reference {more}"));
        let rows = reference.rows();
        let left: Vec<_> = rows.iter().filter(|row| row.0 >= 20).copied().collect();
        assert_eq!(Bits::read(&folder.logdir()).rows(), left, "{command}");
    }
    let folder = folder_without_losses("reference");
    let copy = Folder::new();
    copy.run(&format!("reference {FLAGS} --training-steps 20")).expect_code(0);
    fs::copy(losses(&copy), losses(&folder)).expect("it can be copied");
    let expected = bits_of(&format!("reference {more}"));
    folder.bits_of(&format!("local {more}")).assert_same_files(&expected, "put back");
}

#[test]
fn losses_that_were_cut_between_two_starts_are_missed() {
    let folder = Folder::new();
    folder.run(&format!("reference {FLAGS} --training-steps 20")).expect_code(0);
    cut(&losses(&folder));
    let ended =
        Process::start(folder.command(&format!("local {FLAGS} --training-steps 30"))).wait();
    ended.expect_error(1, &["losses.csv lacks losses of steps ", " to 19"]);
}
