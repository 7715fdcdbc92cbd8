//! How a cluster ends: by itself, when asked, when one of its tasks dies, and when `local` does.

use std::collections::BTreeMap;

use crate::support::{
    Bits, Folder, HandStarted, Process, Role, bits_of, send, task_of_local, tasks_in, wait_until,
};

const SMALL: &str = "--hidden 32 --batch-size 20 --progress none";
/// Ends only if somebody ends it.
const ENDLESS: &str = "--hidden 32 --batch-size 20 --progress none --training-steps 100000000";

#[test]
fn a_run_makes_exactly_its_updates_and_leaves_no_process() {
    let folder = Folder::new();
    let bits = folder.bits_of(&format!("local {SMALL} --training-steps 30 --ps 3"));
    assert_eq!(tasks_in(folder.path()), [0; 0]);
    assert_eq!(bits.step, 30);
    let made: Vec<_> = bits.rows().iter().map(|(step, slot, _)| (*step, *slot)).collect();
    let expected: Vec<_> = (0..30).flat_map(|step| [(step, 0), (step, 1)]).collect();
    assert_eq!(made, expected);
}

#[test]
fn with_a_backup_worker_every_update_uses_two_distinct_slots() {
    for placement in ["round-robin", "even"] {
        let words = format!(
            "local {SMALL} --workers 3 --replicas-to-aggregate 2 --training-steps 60 \
             --placement {placement}"
        );
        let bits = bits_of(&words);
        assert_eq!(bits.step, 60);
        let mut slots: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (step, slot, loss) in bits.rows() {
            assert!(loss.is_finite() && slot < 3);
            slots.entry(step).or_default().push(slot);
        }
        assert_eq!(slots.keys().copied().collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
        for (step, slots) in slots {
            assert!(slots.len() == 2 && slots[0] < slots[1], "step {step}: {slots:?}");
        }
    }
}

#[test]
fn every_task_that_was_started_by_hand_ends_by_itself() {
    let folder = Folder::new();
    let flags = format!("{SMALL} --training-steps 25");
    let cluster = HandStarted::new(2, 2, &flags, folder.logdir());
    let roles = [Role::Worker(1), Role::Ps(1), Role::Worker(0), Role::Ps(0)];
    let tasks: Vec<_> = roles.map(|role| cluster.start(role)).into_iter().collect();
    for task in tasks {
        task.wait().expect_code(0);
    }
    Bits::read(&folder.logdir()).assert_same(&bits_of(&format!("reference {flags}")), "by hand");
}

#[test]
fn ctrl_c_saves_a_checkpoint_and_leaves_no_process() {
    let folder = Folder::new();
    let run = start_and_wait_for_losses(&folder);
    run.signal("INT");
    let ended = run.wait();
    ended.expect_code(130);
    assert_eq!(tasks_in(folder.path()), [0; 0]);
    let bits = Bits::read(&folder.logdir());
    assert!(bits.step > 0);
    let told = format!("the checkpoint of step {} is in ", bits.step);
    ended.expect_stderr(&[&told]);
    let n_rows = bits.rows().len() as u64;
    assert!(n_rows >= bits.step * 2, "{n_rows} rows for a checkpoint of step {}", bits.step);
}

/// As GNU `timeout` does, which signals its child and then the child's process group. Both signals
/// wait while the process is stopped, so that it takes them at one moment.
#[test]
fn two_signals_of_one_moment_are_one_request_to_stop() {
    let folder = Folder::new();
    let run = start_and_wait_for_losses(&folder);
    for signal in ["STOP", "INT", "TERM", "CONT"] {
        run.signal(signal);
    }
    let ended = run.wait();
    ended.expect_code(130);
    let told = format!("the checkpoint of step {} is in ", Bits::read(&folder.logdir()).step);
    ended.expect_stderr(&["stopping: the chief is saving a checkpoint", &told]);
    assert!(!ended.stderr.contains("killed"), "{}", ended.stderr);
}

#[test]
fn a_closed_terminal_saves_a_checkpoint() {
    let folder = Folder::new();
    let run = start_and_wait_for_losses(&folder);
    run.signal("HUP");
    let ended = run.wait();
    let told = format!("the checkpoint of step {} is in ", Bits::read(&folder.logdir()).step);
    ended.expect_code(129).expect_stderr(&[&told]);
    assert_eq!(tasks_in(folder.path()), [0; 0]);
}

/// Of two signals that wait, the one with the smaller number is taken first: SIGHUP, if it is taken.
#[test]
fn a_run_under_nohup_goes_on_when_its_terminal_is_closed() {
    let folder = Folder::new();
    let local = folder.command(&format!("local {ENDLESS}"));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    command.arg(local.get_program()).args(local.get_args()).env("UNISONO_LOG", "info");
    let mut run = Process::start(command);
    wait_for_losses(&mut run, &folder);
    for signal in ["STOP", "HUP", "TERM", "CONT"] {
        run.signal(signal);
    }
    run.wait().expect_code(143);
}

#[test]
fn when_local_itself_is_killed_its_tasks_end() {
    let folder = Folder::new();
    let run = start_and_wait_for_losses(&folder);
    assert_eq!(tasks_in(folder.path()).len(), 5, "local, two ps, two workers");
    run.signal("KILL");
    wait_until("no task is left", || tasks_in(folder.path()).is_empty());
    assert_eq!(run.wait().status.code(), None);
}

#[test]
fn a_task_that_is_killed_is_named_and_the_others_end() {
    for (job, index) in [("worker", 1), ("ps", 0), ("worker", 0)] {
        let folder = Folder::new();
        let run = start_and_wait_for_losses(&folder);
        send("KILL", task_of_local(folder.path(), job, index));
        let ended = run.wait();
        ended.expect_error(1, &[&format!("{job} {index} was killed by SIGKILL")]);
        ended.expect_stderr(&["printed"]);
        assert_eq!(tasks_in(folder.path()), [0; 0]);
    }
}

#[test]
fn the_last_lines_of_a_task_that_fails_are_shown_again() {
    let ended = Folder::new().run(&format!("local {ENDLESS} --learning-rate 1e30"));
    ended.expect_error(3, &[" exited with code 3"]);
    let again: Vec<_> = ended.stderr.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(again.len() == 1 && again[0].contains("the loss is NaN"), "{}", ended.stderr);
    ended.expect_stderr(&["worker 0 | error: "]);
}

#[test]
fn sigterm_ends_a_task_with_143_and_the_chief_saves_first() {
    let folder = Folder::new();
    let cluster = HandStarted::new(1, 2, ENDLESS, folder.logdir());
    let ps = cluster.start(Role::Ps(0));
    let mut chief = cluster.command(Role::Worker(0), cluster.ps_hosts(), "");
    chief.env("UNISONO_LOG", "info");
    let mut chief = Process::start(chief);
    let worker = cluster.start(Role::Worker(1));
    wait_for_losses(&mut chief, &folder);
    worker.signal("TERM");
    worker.wait().expect_code(143);
    // The step cannot go on without slot 1; a whole version is there to be saved all the same.
    chief.signal("TERM");
    chief.wait().expect_code(143);
    assert!(Bits::read(&folder.logdir()).step > 0);
    ps.signal("TERM");
    ps.wait().expect_code(143);
}

fn start_and_wait_for_losses(folder: &Folder) -> Process {
    let mut command = folder.command(&format!("local {ENDLESS}"));
    command.env("UNISONO_LOG", "info");
    let mut run = Process::start(command);
    wait_for_losses(&mut run, folder);
    run
}

/// Waits until some updates are made, and the checkpoint that is made at the start is written: one
/// that is under way when a stop comes is the one that is left.
fn wait_for_losses(run: &mut Process, folder: &Folder) {
    run.wait_for_stderr("step 0 is saved");
    let path = folder.logdir().join("losses.csv");
    wait_until("some losses", || {
        assert!(run.is_running(), "it ended:\n{}", run.stderr());
        std::fs::read_to_string(&path).is_ok_and(|losses| losses.lines().count() > 10)
    });
}

#[test]
fn who_waits_longer_than_it_may_ends_the_run_with_a_code_of_its_own() {
    let folder = Folder::new();
    let flags = format!("{SMALL} --training-steps 25 --give-up-after 1");
    let cluster = HandStarted::new(1, 2, &flags, folder.logdir());
    // Worker 1 is never started.
    let tasks = [Role::Ps(0), Role::Worker(0)].map(|role| cluster.start(role));
    for task in tasks {
        task.wait().expect_error(138, &["worker 1, never heard of", "--give-up-after"]);
    }
}
