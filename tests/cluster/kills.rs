//! Killed tasks: one after the other under `local --supervise`, and all at once.

use crate::support::{
    Bits, Folder, HandStarted, Process, Role, bits_of, last_step, send, task_of_local, tasks_in,
    wait_until,
};

/// Flags of a run with enough steps for the faults of each test.
const FLAGS: &str = "--hidden 32 --batch-size 20 --progress none --training-steps 2500";
const MANY: &str = "--save-model-secs 0.2 --workers 3";

#[test]
fn killing_every_task_of_a_supervised_run_changes_no_bit() {
    for optimizer in ["sgd", "momentum --momentum 0.9"] {
        let flags = format!("{FLAGS} {MANY} --optimizer {optimizer}");
        let folder = Folder::new();
        let mut run = folder.start(&format!("local --supervise {flags}"));
        let victims = [("worker", 1), ("ps", 1), ("worker", 0), ("ps", 0), ("worker", 2)];
        for (job, index) in victims {
            wait_for_progress(&mut run, &folder);
            send("KILL", task_of_local(folder.path(), job, index));
            run.wait_for_stderr(&format!("{job} {index} was killed by SIGKILL"));
        }
        let ended = run.wait();
        ended.expect_code(0);
        let message = |line: &&str| line.contains("; restart 1 of 10 in 500ms");
        assert_eq!(ended.stderr.lines().filter(message).count(), victims.len(), "{}", ended.stderr);
        let expected = bits_of(&format!("reference {flags}"));
        Bits::read(&folder.logdir()).assert_same_files(&expected, optimizer);
        assert_eq!(tasks_in(folder.path()), [0; 0]);
    }
}

#[test]
fn supervised_run_with_an_unusable_logdir_ends_before_any_task_starts() {
    let folder = Folder::new();
    std::fs::create_dir(folder.logdir()).expect("a folder can be made");
    std::fs::write(folder.logdir().join("losses.csv"), "not ours")
        .expect("the file can be written");
    let ended = folder.run(&format!("local --supervise {FLAGS}"));
    ended.expect_error(1, &["losses.csv", "is not a losses file"]);
    assert!(!ended.stderr.contains("worker 0"), "{}", ended.stderr);
}

#[test]
fn supervised_run_is_not_restarted_after_a_non_finite_loss() {
    let folder = Folder::new();
    let ended = folder.run(&format!("local --supervise {FLAGS} --learning-rate 1e30"));
    ended.expect_code(3).expect_stderr(&["not restarting: the same error would happen again"]);
    assert!(!ended.stderr.contains("; restart 1"), "{}", ended.stderr);
}

#[test]
fn local_resumes_with_the_same_command_after_all_processes_were_killed() {
    for optimizer in ["sgd", "momentum --momentum 0.9"] {
        let flags = format!("{FLAGS} {MANY} --optimizer {optimizer}");
        let folder = Folder::new();
        for _ in 0..2 {
            let mut run = folder.start(&format!("local {flags}"));
            wait_for_progress(&mut run, &folder);
            wait_for_a_checkpoint(&folder);
            kill_all(tasks_in(folder.path()));
            wait_until("no task is left", || tasks_in(folder.path()).is_empty());
        }
        let ended = folder.run(&format!("local {flags}"));
        ended.expect_code(0).expect_stderr(&["Restored from "]);
        let expected = bits_of(&format!("reference {flags}"));
        Bits::read(&folder.logdir()).assert_same_files(&expected, optimizer);
    }
}

#[test]
fn tasks_resume_with_the_same_commands_after_all_were_killed_at_once() {
    let flags = format!("{FLAGS} --save-model-secs 0.2");
    let folder = Folder::new();
    let cluster = HandStarted::new(2, 3, &flags, folder.logdir());
    let roles = [Role::Ps(0), Role::Ps(1), Role::Worker(0), Role::Worker(1), Role::Worker(2)];
    let mut tasks = roles.map(|role| cluster.start(role));
    wait_for_progress(&mut tasks[2], &folder);
    wait_for_a_checkpoint(&folder);
    kill_all(tasks.iter().map(Process::pid).collect());
    for task in tasks {
        assert_eq!(task.wait().status.code(), None, "a signal killed the task");
    }
    for (role, task) in roles.map(|role| (role, cluster.start(role))) {
        let ended = task.wait();
        ended.expect_code(0);
        assert_eq!(ended.stderr.contains("Restored from "), role == Role::Worker(0));
    }
    let expected = bits_of(&format!("reference {flags} --workers 3"));
    Bits::read(&folder.logdir()).assert_same_files(&expected, "killed and started again");
}

#[test]
fn second_chief_is_refused_while_a_paused_one_holds_the_logdir() {
    let flags = format!("{FLAGS} --save-model-secs 0.2");
    let folder = Folder::new();
    let cluster = HandStarted::new(1, 2, &flags, folder.logdir());
    let mut tasks = [Role::Ps(0), Role::Worker(0), Role::Worker(1)].map(|role| cluster.start(role));
    wait_for_progress(&mut tasks[1], &folder);
    tasks[1].signal("STOP");
    let second = cluster.start(Role::Worker(0)).wait();
    let logdir = folder.logdir().display().to_string();
    second.expect_error(1, &["another process is writing to ", &logdir, "even if it is paused"]);
    tasks[1].signal("CONT");
    for task in tasks {
        task.wait().expect_code(0);
    }
    let expected = bits_of(&format!("reference {flags} --workers 2"));
    Bits::read(&folder.logdir()).assert_same(&expected, "with one chief");
}

fn kill_all(pids: Vec<u32>) {
    pids.into_iter().for_each(|pid| send("KILL", pid));
}

fn wait_for_progress(run: &mut Process, folder: &Folder) {
    let start = last_step(&folder.logdir());
    wait_until("progress", || {
        assert!(run.is_running(), "the run ended:\n{}", run.stderr());
        last_step(&folder.logdir()) > start.map(|step| step + 30)
    });
}

/// Waits for a checkpoint after that of the initial values.
fn wait_for_a_checkpoint(folder: &Folder) {
    wait_until("a checkpoint", || {
        let state = std::fs::read_to_string(folder.logdir().join("checkpoint"));
        state.is_ok_and(|state| !state.starts_with("model_checkpoint_path: \"model.ckpt-0."))
    });
}
