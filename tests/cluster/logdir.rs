//! A logdir belongs to one run, and a second run changes no byte there. Pipes and links in a logdir
//! are neither followed nor waited for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::{
    Bits, Folder, HandStarted, Listing, Process, Role, bits_of, last_step, send, tasks_in, unisono,
    wait_until,
};

const SMALL: &str = "--hidden 16 --batch-size 20 --progress none --save-model-secs 0.2";
const ENDLESS: &str = "--training-steps 100000000";

#[test]
fn second_run_in_a_logdir_in_use_changes_no_byte() {
    let folder = Folder::new();
    let words = format!("--ledger --trace {SMALL} {ENDLESS}");
    let mut run = folder.start(&format!("local {words}"));
    wait_until("checkpoints", || {
        assert!(run.is_running(), "the run ended:\n{}", run.stderr());
        let state = fs::read_to_string(folder.logdir().join("checkpoint")).unwrap_or_default();
        state.matches("all_model_checkpoint_paths").count() > 1
    });
    // The first run is paused, so any change would be made by the second one.
    let tasks = tasks_in(folder.path());
    tasks.iter().for_each(|pid| send("STOP", *pid));
    let before = Listing::of(&folder.logdir());

    let by_hand = HandStarted::new(2, 2, &words, folder.logdir());
    let ps = [0, 1].map(|index| by_hand.start(Role::Ps(index)));
    let second: Vec<_> = ["local", "local --supervise", "reference"]
        .iter()
        .map(|command| {
            let ledger = if *command == "reference" { "" } else { "--ledger --trace" };
            folder.start(&format!("{command} {ledger} {SMALL} {ENDLESS}"))
        })
        .chain([by_hand.start(Role::Worker(0))])
        .collect();
    for task in second {
        task.wait().expect_error(1, &["another process is writing to ", "stop that process first"]);
    }
    for (index, task) in ps.into_iter().enumerate() {
        let ledger = format!("ledger-ps{index}.jsonl");
        let told = [&*ledger, "another process is writing it", "stop that process"];
        task.wait().expect_error(1, &told);
    }
    before.assert_unchanged(&folder.logdir());

    tasks.iter().for_each(|pid| send("CONT", *pid));
    let made = last_step(&folder.logdir());
    wait_until("the first run continues", || last_step(&folder.logdir()) > made);
    run.signal("INT");
    run.wait().expect_code(130);
    let mut audit = unisono("audit");
    audit.arg(folder.logdir());
    Process::start(audit).wait().expect_code(0);
}

#[test]
fn second_run_is_refused_while_the_first_restarts_its_chief() {
    let folder = Folder::new();
    let words = format!("{SMALL} {ENDLESS}");
    let mut run = folder.start(&format!("local --supervise {words}"));
    wait_until("losses", || last_step(&folder.logdir()) > Some(5));
    // The paused launcher cannot restart the chief.
    run.signal("STOP");
    send("KILL", crate::support::task_of_local(folder.path(), "worker", 0));
    let refused = folder.run(&format!("local {words}"));
    refused.expect_error(1, &["another process is writing to "]);
    run.signal("CONT");
    run.wait_for_stderr("worker 0 was killed by SIGKILL");
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

#[test]
fn pipe_or_link_in_place_of_a_ledger_or_trace_costs_only_that_file() {
    let words = format!("{SMALL} --training-steps 30");
    let expected = bits_of(&format!("reference {words}"));
    let folder = Folder::new();
    let logdir = folder.logdir();
    fs::create_dir(&logdir).expect("the folder can be made");
    let outside = folder.join("outside");
    fs::write(&outside, "somebody's\nfile").expect("the file can be written");
    for pipe in ["ledger-ps0.jsonl", "trace-worker1.jsonl"] {
        mkfifo(&logdir.join(pipe));
    }
    for link in ["ledger-ps1.jsonl", "trace-ps0.jsonl", "model.ckpt-30.safetensors"] {
        symlink(&outside, logdir.join(link)).expect("a link can be made");
    }
    symlink(folder.join("nowhere"), logdir.join("trace-ps1.jsonl")).expect("a link can be made");

    let ended = folder.run(&format!("local --ps 2 --ledger --trace {words}"));
    ended.expect_code(1).expect_stderr(&["model.ckpt-30.safetensors: ", "symbolic link"]);
    fs::remove_file(logdir.join("model.ckpt-30.safetensors")).expect("the file exists");
    let ended = folder.run(&format!("local --ps 2 --ledger --trace {words}"));
    ended.expect_code(0).expect_stderr(&[
        "no ledger is written, and training continues without it: ",
        "ledger-ps0.jsonl: it is a named pipe",
        "ledger-ps1.jsonl: it is a symbolic link",
        "trace-worker1.jsonl: it is a named pipe",
        "trace-ps0.jsonl: it is a symbolic link",
        "trace-ps1.jsonl: it is a symbolic link",
    ]);
    Bits::read(&logdir).assert_same(&expected, "with pipes and links");
    assert_eq!(fs::read_to_string(&outside).expect("the file exists"), "somebody's\nfile");
    assert!(!folder.join("nowhere").exists());
}

#[test]
fn pipe_or_link_in_place_of_the_losses_is_refused() {
    for is_pipe in [true, false] {
        let folder = Folder::new();
        fs::create_dir(folder.logdir()).expect("the folder can be made");
        let losses = folder.logdir().join("losses.csv");
        let outside = folder.join("outside");
        fs::write(&outside, "step,slot,loss\n").expect("the file can be written");
        let what = if is_pipe { "it is a named pipe" } else { "it is a symbolic link" };
        if is_pipe {
            mkfifo(&losses);
        } else {
            symlink(&outside, &losses).expect("a link can be made");
        }
        for command in ["local", "reference"] {
            let refused = folder.run(&format!("{command} {SMALL} --training-steps 10"));
            refused.expect_error(1, &["losses.csv: ", what, "move it away"]);
        }
        assert_eq!(fs::read(&outside).expect("the file exists"), b"step,slot,loss\n");
        assert!(tasks_in(folder.path()).is_empty(), "no process is left");
    }
}

#[test]
fn logdir_may_be_a_link_to_a_folder() {
    let words = format!("{SMALL} --training-steps 20");
    let expected = bits_of(&format!("reference {words}"));
    let folder = Folder::new();
    fs::create_dir(folder.join("elsewhere")).expect("the folder can be made");
    symlink(folder.join("elsewhere"), folder.logdir()).expect("a link can be made");
    folder.run(&format!("local --ledger {words}")).expect_code(0);
    Bits::read(&folder.join("elsewhere")).assert_same_files(&expected, "through a link");
}

/// The task waits for data that never arrive. Its standard input is closed, as after the death of
/// its parent, so it must end nevertheless.
#[test]
fn task_that_hangs_at_its_start_ends_with_its_parent() {
    let folder = Folder::new();
    let data = folder.join("data");
    fs::create_dir(&data).expect("the folder can be made");
    for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
        mkfifo(&data.join(name));
    }
    for name in ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
        mkfifo(&data.join(name));
    }
    let flags = format!("--training-steps 10 --data-dir {}", data.display());
    let cluster = HandStarted::new(1, 1, &flags, folder.logdir());
    let mut command = cluster.command(Role::Worker(0), cluster.ps_hosts(), "");
    command.arg("--exit-with-parent");
    Process::start(command).wait().expect_code(1);
}
