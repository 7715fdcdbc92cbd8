//! Clocks that are set back between two starts of a task, and a paused process that continues after
//! it was replaced.
//!
//! The first processes get incarnations far in the future from `UNISONO_INCARNATION`, as from a
//! wrong clock. Later processes take smaller incarnations from the clock of this machine.

use std::fs;

use crate::support::{
    Bits, Folder, HandStarted, Process, Role, bits_of, last_step, unisono, wait_until,
};

const FLAGS: &str = "--hidden 32 --batch-size 20 --progress none --training-steps 1500";
const VARIABLE: &str = "UNISONO_INCARNATION";
/// A time in the year 2223, in microseconds since 1970.
const FUTURE: u64 = 8_000_000_000_000_000;

/// Starts a task with a given incarnation, as a supervisor does.
fn start_as(cluster: &HandStarted, role: Role, incarnation: u64) -> Process {
    let mut command = cluster.command(role, cluster.ps_hosts(), "");
    command.env(VARIABLE, incarnation.to_string());
    Process::start(command)
}

fn wait_for_progress(run: &mut Process, folder: &Folder) {
    let start = last_step(&folder.logdir());
    wait_until("progress", || {
        assert!(run.is_running(), "the run ended:\n{}", run.stderr());
        last_step(&folder.logdir()) > start.map(|step| step + 30)
    });
}

#[test]
fn tasks_restarted_after_their_clocks_were_set_back_continue_with_the_same_bits() {
    let flags = format!("{FLAGS} --save-model-secs 0.2 --save-summaries-secs 0");
    let folder = Folder::new();
    let cluster = HandStarted::new(2, 2, &flags, folder.logdir()).keep_sockets();
    let roles = [Role::Worker(0), Role::Ps(0), Role::Ps(1), Role::Worker(1)];
    let mut tasks = roles.map(|role| start_as(&cluster, role, FUTURE));
    for victim in [2, 3, 0, 1] {
        wait_for_progress(&mut tasks[0], &folder);
        tasks[victim].kill();
        tasks[victim] = cluster.start(roles[victim]);
        // The chief has recorded its incarnation. The other tasks learn theirs from their peers.
        if victim > 0 {
            tasks[victim].wait_for_stderr("continuing as 800000000");
        }
    }
    for task in tasks {
        task.wait().expect_code(0);
    }
    let recorded = fs::read_to_string(folder.logdir().join("incarnation"))
        .expect("the incarnation is recorded");
    assert_eq!(recorded, format!("{}\n", FUTURE + 1));
    let expected = bits_of(&format!("reference {flags} --workers 2"));
    Bits::read(&folder.logdir()).assert_same_files(&expected, "with clocks that were set back");
}

#[test]
fn process_that_was_paused_and_replaced_stays_fenced_after_it_continues() {
    let flags = format!("{FLAGS} --save-model-secs 0.2");
    let folder = Folder::new();
    let cluster = HandStarted::new(1, 2, &flags, folder.logdir());
    let mut chief = cluster.start(Role::Worker(0));
    let ps = cluster.start(Role::Ps(0));
    let old = cluster.start(Role::Worker(1));
    wait_for_progress(&mut chief, &folder);
    old.signal("STOP");
    let new = cluster.start(Role::Worker(1));
    wait_for_progress(&mut chief, &folder);
    old.signal("CONT");
    let message = ["worker 1 cannot go on", "ps 0 knows incarnation ", "was restarted since"];
    old.wait().expect_error(1, &message);
    for task in [chief, ps, new] {
        task.wait().expect_code(0);
    }
    let expected = bits_of(&format!("reference {flags} --workers 2"));
    Bits::read(&folder.logdir()).assert_same_files(&expected, "with a worker that was replaced");
}

/// Returns the incarnations of ps 0, in the order of its ledger.
fn incarnations(folder: &Folder) -> Vec<u64> {
    let ledger =
        fs::read_to_string(folder.logdir().join("ledger-ps0.jsonl")).expect("the file is kept");
    let headers = ledger.lines().filter(|line| line.starts_with("{\"header\""));
    let of_header = |line: &str| {
        let (_, rest) = line.split_once("\"incarnation\":")?;
        rest.split_once(',')?.0.parse().ok()
    };
    headers.filter_map(of_header).collect()
}

#[test]
fn restarted_ps_learns_its_last_incarnation_from_its_ledger() {
    let flags = "--hidden 32 --batch-size 20 --progress none --ledger";
    let folder = Folder::new();
    for (steps, is_future) in [(20, true), (40, false)] {
        let flags = format!("{flags} --training-steps {steps}");
        let cluster = HandStarted::new(1, 1, &flags, folder.logdir());
        let tasks = [Role::Ps(0), Role::Worker(0)].map(|role| match is_future {
            true => start_as(&cluster, role, FUTURE),
            false => cluster.start(role),
        });
        for task in tasks {
            task.wait().expect_code(0);
        }
    }
    assert_eq!(incarnations(&folder), [FUTURE, FUTURE + 1]);
    let mut audit = unisono("audit");
    audit.arg(folder.logdir());
    let clean = Process::start(audit).wait();
    clean.expect_code(0);
    assert!(clean.stdout.contains("Clean: versions 0 to 40"), "{}", clean.stdout);
}

#[test]
fn local_gives_each_restart_of_a_task_a_larger_incarnation() {
    let folder = Folder::new();
    let flags = "--hidden 32 --batch-size 20 --progress none --training-steps 600 --ledger";
    // An incarnation from an outer supervisor must not apply to the tasks of `local`.
    let mut command = folder.command(&format!("local --ps 1 --workers 1 --supervise {flags}"));
    command.env(VARIABLE, "5");
    let mut run = Process::start(command);
    for n in 1..=2 {
        wait_for_progress(&mut run, &folder);
        crate::support::send("KILL", crate::support::task_of_local(folder.path(), "ps", 0));
        wait_until("the ps restarts", || incarnations(&folder).len() > n);
    }
    run.wait().expect_code(0);
    let incarnations = incarnations(&folder);
    assert_eq!(incarnations.len(), 3);
    assert!(incarnations.is_sorted_by(|one, next| one < next), "{incarnations:?}");
    assert!(incarnations[0] > 1_000_000_000_000_000, "{incarnations:?}");
}

#[test]
fn incarnation_that_is_not_a_number_exits_with_2() {
    let folder = Folder::new();
    let mut command = folder.command("worker --task-id 0");
    command.env(VARIABLE, "12a");
    let message = ["UNISONO_INCARNATION is \"12a\"", "must be a whole number"];
    Process::start(command).wait().expect_error(2, &message);
}
