//! `--ledger` and `unisono audit` with a cluster of real processes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Bits, Ended, Folder, HandStarted, Process, Role, bits_of, send, tasks_in};
use crate::support::{unisono, wait_until};

const SMALL: &str = "--hidden 32 --batch-size 20 --progress none";
const BACKUP: &str = "--ps 2 --workers 4 --replicas-to-aggregate 3 --training-steps 40";

fn audit(folder: &Folder) -> Ended {
    let mut command = unisono("audit");
    command.arg(folder.logdir());
    Process::start(command).wait()
}

fn ledger(folder: &Folder, ps: usize) -> PathBuf {
    folder.logdir().join(format!("ledger-ps{ps}.jsonl"))
}

/// Replaces the first line that contains the text `line_with`.
fn change_line(path: &Path, line_with: &str, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(path).expect("there is a ledger");
    let line = text.lines().find(|line| line.contains(line_with)).expect("there is such a line");
    fs::write(path, text.replacen(line, &change(line), 1)).expect("the file can be written");
}

#[test]
fn ledger_changes_no_bit_and_is_written_only_if_requested() {
    let words = format!("{SMALL} --training-steps 30");
    let expected = bits_of(&format!("reference {words}"));
    for (flag, is_there) in [("", false), ("--ledger", true), ("--ledger=false", false)] {
        let folder = Folder::new();
        let bits = folder.bits_of(&format!("local --ps 2 {words} {flag}"));
        bits.assert_same(&expected, flag);
        assert_eq!(ledger(&folder, 0).exists() && ledger(&folder, 1).exists(), is_there, "{flag}");
    }
}

#[test]
fn audit_accepts_a_clean_run_and_names_a_wrong_line() {
    let folder = Folder::new();
    folder.run(&format!("local --ledger {SMALL} {BACKUP}")).expect_code(0);
    let clean = audit(&folder);
    clean.expect_code(0);
    let end = "\nClean: versions 0 to 40, 40 updates, on every shard.\n";
    assert!(clean.stdout.ends_with(end), "{}", clean.stdout);
    assert!(clean.stdout.contains("80 updates of 240 gradients, 40 compared with another shard"));
    assert!(clean.stdout.contains("2 checkpoints, 120 rows of losses.csv"), "{}", clean.stdout);

    let good = fs::read(ledger(&folder, 1)).expect("there is a ledger");
    let hash = |line: &str| {
        let (rest, after) = line.rsplit_once("\"after\":\"").expect("an update has one");
        let other = if after.starts_with('0') { '1' } else { '0' };
        format!("{rest}\"after\":\"{other}{}", &after[1..])
    };
    let slot = |line: &str| line.replacen("\"slot\":", "\"slot\":4", 1);
    let broken_by = |change: &dyn Fn(&str) -> String, message: &str| {
        change_line(&ledger(&folder, 1), "\"step\":17,\"slots\"", change);
        let broken = audit(&folder);
        broken.expect_code(1);
        let line = broken.stdout.lines().last().expect("the audit prints a result");
        assert!(line.starts_with(message), "{line}");
        assert!(line.contains("ledger-ps1.jsonl:"), "{line}");
        fs::write(ledger(&folder, 1), &good).expect("the file can be written");
    };
    broken_by(&hash, "BROKEN: rule 1, exactly R, is broken at step 18, ");
    broken_by(&slot, "BROKEN: rule 2, which R, is broken at step 17, ");

    fs::remove_file(ledger(&folder, 0)).expect("the file exists");
    let incomplete = audit(&folder);
    incomplete.expect_code(3);
    assert!(incomplete.stdout.contains("there is no ledger of ps 0"), "{}", incomplete.stdout);
    fs::remove_file(ledger(&folder, 1)).expect("the file exists");
    audit(&folder).expect_code(2).expect_stderr(&["there is no ledger-psN.jsonl in ", "--ledger"]);
    fs::write(ledger(&folder, 1), "nonsense\n").expect("the file can be written");
    audit(&folder)
        .expect_code(2)
        .expect_stderr(&["ledger-ps1.jsonl:1: \"nonsense\" is not a line"]);
}

#[test]
fn ledger_continues_after_the_whole_run_was_killed() {
    let folder = Folder::new();
    // The first two runs are killed. The third one ends by itself.
    for (steps, is_last) in [(1_000_000, false), (1_000_000, false), (0, true)] {
        let before = made(&folder);
        let steps = if is_last { before + 20 } else { steps };
        let words = format!("local --ledger --optimizer momentum {SMALL} --training-steps {steps}");
        let mut run = folder.start(&words);
        if is_last {
            run.wait().expect_code(0);
            let clean = audit(&folder);
            clean.expect_code(0);
            let end = format!("\nClean: versions 0 to {steps}, ");
            assert!(clean.stdout.contains(&end), "{}", clean.stdout);
            assert!(
                clean.stdout.contains("3 incarnations, 3 generations opened"),
                "{}",
                clean.stdout
            );
        } else {
            wait_until("new losses", || {
                assert!(run.is_running(), "the run ended:\n{}", run.stderr());
                made(&folder) > before + 20
            });
            tasks_in(folder.path()).into_iter().for_each(|pid| send("KILL", pid));
            run.wait();
        }
    }
}

/// Returns the number of updates whose losses are recorded.
fn made(folder: &Folder) -> u64 {
    let losses = fs::read_to_string(folder.logdir().join("losses.csv")).unwrap_or_default();
    let whole = losses.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let last = whole.lines().last().and_then(|line| line.split(',').next()?.parse::<u64>().ok());
    last.map_or(0, |step| step + 1)
}

/// Ps 1 can write at most some 16 KiB to a file. Ps 0 has no limit.
#[test]
fn full_disk_ends_the_ledger_but_not_the_training() {
    let folder = Folder::new();
    let words = format!("{SMALL} --ledger --training-steps 60");
    let expected = bits_of(&format!("reference {SMALL} --training-steps 60"));
    let cluster = HandStarted::new(2, 2, &words, folder.logdir());
    let full = cluster.start_limited(Role::Ps(1), 16);
    let others = [Role::Ps(0), Role::Worker(0), Role::Worker(1)].map(|role| cluster.start(role));
    let ended = full.wait();
    ended.expect_code(0);
    assert_eq!(ended.stderr.matches("the ledger ends here").count(), 1, "{}", ended.stderr);
    for task in others {
        task.wait().expect_code(0);
    }
    Bits::read(&folder.logdir()).assert_same(&expected, "with a full disk");
    let message = audit(&folder);
    message.expect_code(3);
    assert!(
        message.stdout.contains("A ps stops its ledger with a warning when its disk is full"),
        "{}",
        message.stdout
    );
}
