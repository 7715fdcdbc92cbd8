//! The end of a cluster: after its last step, after a signal, after the death of a task, and after
//! the death of `local`.

use std::collections::BTreeMap;

use crate::support::{
    Bits, Folder, HandStarted, Process, Role, bits_of, send, task_of_local, tasks_in, wait_until,
};

const SMALL: &str = "--hidden 32 --batch-size 20 --progress none";
/// Flags of a run that ends only if the test ends it.
const ENDLESS: &str = "--hidden 32 --batch-size 20 --progress none --training-steps 100000000";

#[test]
fn run_makes_exactly_its_updates_and_leaves_no_process() {
    let folder = Folder::new();
    let bits = folder.bits_of(&format!("local {SMALL} --training-steps 30 --ps 3"));
    assert_eq!(tasks_in(folder.path()), [0; 0]);
    assert_eq!(bits.step, 30);
    let made: Vec<_> = bits.rows().iter().map(|(step, slot, _)| (*step, *slot)).collect();
    let expected: Vec<_> = (0..30).flat_map(|step| [(step, 0), (step, 1)]).collect();
    assert_eq!(made, expected);
}

#[test]
fn every_update_with_a_backup_worker_uses_two_distinct_slots() {
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
fn tasks_started_by_hand_end_by_themselves() {
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
    let message = format!("the checkpoint of step {} is in ", bits.step);
    ended.expect_stderr(&[&message]);
    let n_rows = bits.rows().len() as u64;
    assert!(n_rows >= bits.step * 2, "{n_rows} rows for a checkpoint of step {}", bits.step);
}

/// GNU `timeout` signals its child and then the child's process group. In this test, both signals
/// are pending while the process is stopped, so that it receives them at the same time.
#[test]
fn two_simultaneous_signals_are_one_request_to_stop() {
    let folder = Folder::new();
    let run = start_and_wait_for_losses(&folder);
    for signal in ["STOP", "INT", "TERM", "CONT"] {
        run.signal(signal);
    }
    let ended = run.wait();
    ended.expect_code(130);
    let message = format!("the checkpoint of step {} is in ", Bits::read(&folder.logdir()).step);
    ended.expect_stderr(&["stopping: the chief is saving a checkpoint", &message]);
    assert!(!ended.stderr.contains("killed"), "{}", ended.stderr);
}

#[test]
fn closing_the_terminal_saves_a_checkpoint() {
    let folder = Folder::new();
    let run = start_and_wait_for_losses(&folder);
    run.signal("HUP");
    let ended = run.wait();
    let message = format!("the checkpoint of step {} is in ", Bits::read(&folder.logdir()).step);
    ended.expect_code(129).expect_stderr(&[&message]);
    assert_eq!(tasks_in(folder.path()), [0; 0]);
}

/// The kernel delivers the pending signal with the smallest number first. If the program did not
/// ignore SIGHUP, it would exit with the code of SIGHUP.
#[test]
fn run_under_nohup_continues_after_its_terminal_is_closed() {
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
fn tasks_end_after_local_is_killed() {
    let folder = Folder::new();
    let run = start_and_wait_for_losses(&folder);
    assert_eq!(tasks_in(folder.path()).len(), 5, "local, two ps, two workers");
    run.signal("KILL");
    wait_until("no task is left", || tasks_in(folder.path()).is_empty());
    assert_eq!(run.wait().status.code(), None);
}

#[test]
fn killed_task_is_reported_and_the_others_end() {
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
fn last_lines_of_a_failed_task_are_repeated() {
    let ended = Folder::new().run(&format!("local {ENDLESS} --learning-rate 1e30"));
    ended.expect_error(3, &[" exited with code 3"]);
    let again: Vec<_> = ended.stderr.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(again.len() == 1 && again[0].contains("the loss is NaN"), "{}", ended.stderr);
    ended.expect_stderr(&["worker 0 | error: "]);
}

#[test]
fn task_exits_with_143_on_sigterm_and_the_chief_saves_first() {
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
    // The step cannot continue without slot 1, but the chief holds a whole version to save.
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

/// Waits until the first checkpoint is written and some updates are made.
///
/// A checkpoint that is being written when the run is stopped would be the last one.
fn wait_for_losses(run: &mut Process, folder: &Folder) {
    run.wait_for_stderr("saved the checkpoint of step 0 in");
    let path = folder.logdir().join("losses.csv");
    wait_until("some losses", || {
        assert!(run.is_running(), "the run ended:\n{}", run.stderr());
        std::fs::read_to_string(&path).is_ok_and(|losses| losses.lines().count() > 10)
    });
}

#[test]
fn task_that_gives_up_waiting_ends_the_run_with_its_own_exit_code() {
    let folder = Folder::new();
    let flags = format!("{SMALL} --training-steps 25 --give-up-after 1");
    let cluster = HandStarted::new(1, 2, &flags, folder.logdir());
    // Worker 1 is never started.
    let tasks = [Role::Ps(0), Role::Worker(0)].map(|role| cluster.start(role));
    for task in tasks {
        task.wait().expect_error(138, &["worker 1, never heard from", "--give-up-after"]);
    }
}
