//! Losses and logdirs that are removed, truncated or moved, during a run or between two starts.

use std::fs::{self, File};
use std::path::Path;

use crate::support::{Bits, Folder, Listing, Process, bits_of};
use crate::watched::{ENDLESS, FLAGS, Watched};

fn losses(folder: &Folder) -> std::path::PathBuf {
    folder.logdir().join("losses.csv")
}

fn cut(path: &Path) {
    let file = File::options().write(true).open(path).expect("the file exists");
    let len = file.metadata().expect("the file has metadata").len();
    file.set_len(len / 2).expect("the file can be truncated");
}

fn replace(path: &Path) {
    let other = path.with_extension("other");
    fs::write(&other, "step,slot,loss\n0,0,1\n").expect("the file can be written");
    fs::rename(other, path).expect("the file can be moved");
}

#[test]
fn losses_removed_during_a_run_are_reported_and_written_again() {
    let flags = format!("{FLAGS} --save-model-secs 0.2 --training-steps 1500");
    let expected = bits_of(&format!("reference {flags}"));
    let remove = |path: &Path| fs::remove_file(path).expect("the file exists");
    for damage in [&remove as &dyn Fn(&Path), &cut, &replace] {
        let folder = Folder::new();
        let command = folder.command(&format!("local {flags}"));
        let mut watched = Watched::start(command, &folder.logdir());
        watched.wait_for_losses();
        damage(&losses(&folder));
        watched.wait_for_log("all rows were rewritten", 0);
        watched.end().expect_code(0);
        Bits::read(&folder.logdir()).assert_same_files(&expected, "with losses that were lost");
    }
}

#[test]
fn run_whose_logdir_was_moved_reports_that_and_writes_nothing_to_its_replacement() {
    let folder = Folder::new();
    let mut first =
        Watched::start(folder.command(&format!("local --ledger {ENDLESS}")), &folder.logdir());
    first.wait_for_a_checkpoint();
    let away = folder.join("away");
    fs::rename(folder.logdir(), &away).expect("the file can be moved");
    first.wait_for_log("the logdir was moved, removed or replaced", 0);
    first.wait_for_log("move it back, or stop this run", 0);
    first.wait_for_log("the ledger ends here", 0);

    let flags = format!("{FLAGS} --training-steps 30");
    let expected = bits_of(&format!("reference {flags}"));
    folder.bits_of(&format!("local {flags}")).assert_same_files(&expected, "in its place");
    let theirs = Listing::of(&folder.logdir());
    first.wait_for_progress();
    theirs.assert_unchanged(&folder.logdir());

    // The run catches up after its logdir is moved back.
    fs::rename(folder.logdir(), folder.join("theirs")).expect("the file can be moved");
    fs::rename(&away, folder.logdir()).expect("the file can be moved");
    first.wait_for_losses();
    first.wait_for_a_checkpoint();
}

/// Returns a folder with a run of 20 steps whose losses were removed.
fn folder_without_losses(words: &str) -> Folder {
    let folder = Folder::new();
    folder.run(&format!("{words} {FLAGS} --training-steps 20")).expect_code(0);
    fs::remove_file(losses(&folder)).expect("there are losses");
    folder
}

#[test]
fn losses_missing_at_the_start_are_restored_from_the_ledgers() {
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
fn checkpoint_without_its_losses_is_skipped_for_an_older_one() {
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
fn run_without_its_losses_is_refused_until_they_are_restored_or_given_up() {
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

        let message = folder.run(&format!("{command} {more} --allow-missing-losses"));
        message.expect_code(0).expect_stderr(&["because of --allow-missing-losses"]);
        let reference = bits_of(&format!("reference {more}"));
        let rows = reference.rows();
        let left: Vec<_> = rows.iter().filter(|row| row.0 >= 20).copied().collect();
        assert_eq!(Bits::read(&folder.logdir()).rows(), left, "{command}");
    }
    let folder = folder_without_losses("reference");
    let copy = Folder::new();
    copy.run(&format!("reference {FLAGS} --training-steps 20")).expect_code(0);
    fs::copy(losses(&copy), losses(&folder)).expect("the file can be copied");
    let expected = bits_of(&format!("reference {more}"));
    folder.bits_of(&format!("local {more}")).assert_same_files(&expected, "put back");
}

#[test]
fn losses_truncated_between_two_starts_are_noticed() {
    let folder = Folder::new();
    folder.run(&format!("reference {FLAGS} --training-steps 20")).expect_code(0);
    cut(&losses(&folder));
    let ended =
        Process::start(folder.command(&format!("local {FLAGS} --training-steps 30"))).wait();
    ended.expect_error(1, &["losses.csv lacks losses of steps ", " to 19"]);
}
