//! Tasks that an engine starts: `TF_CONFIG` as Kubeflow sets it, and a Slurm step. Engines may
//! restart a task after the run is over.

use std::net::TcpListener;
use std::process::Command;

use crate::support::{Bits, Folder, HandStarted, Process, Role, bits_of, unisono, wait_until};

const FLAGS: &str = "--hidden 32 --batch-size 20 --training-steps 20 --progress none";
/// Limit of attempts to find free ports. Another process may take a port before the program binds
/// it.
const MAX_ATTEMPTS: u32 = 10;

/// Starts the commands of `make`, which gets free ports. Repeats this if another process took a
/// port in the meantime.
fn run_on_free_ports(hosts: &[&str], make: impl Fn(&Folder, &[u16]) -> Vec<Command>) -> Folder {
    for _ in 0..MAX_ATTEMPTS {
        let folder = Folder::new();
        let sockets = hosts.iter().map(|host| TcpListener::bind((*host, 0)).expect("a free port"));
        let sockets: Vec<_> = sockets.collect();
        let port =
            |socket: &TcpListener| socket.local_addr().expect("the listener is bound").port();
        let ports: Vec<_> = sockets.iter().map(port).collect();
        drop(sockets);
        let mut tasks: Vec<_> = make(&folder, &ports).into_iter().map(Process::start).collect();
        let is_taken =
            |tasks: &[Process]| tasks.iter().any(|it| it.stderr().contains(" is taken: "));
        wait_until("the tasks end", || {
            is_taken(&tasks) || !tasks.iter_mut().any(Process::is_running)
        });
        if !is_taken(&tasks) {
            for task in tasks {
                task.wait().expect_code(0);
            }
            return folder;
        }
    }
    panic!("no free ports in {MAX_ATTEMPTS} attempts");
}

fn tf_config(task_type: &str, index: u32, ports: &[u16]) -> String {
    // Nothing connects to a worker, so its address may have a name that no resolver knows.
    format!(
        r#"{{"cluster": {{"chief": ["mnist-chief-0.none.invalid:2222"],
            "ps": ["localhost:{}", "localhost:{}"],
            "worker": ["mnist-worker-0.none.invalid:2222"]}},
            "task": {{"type": "{task_type}", "index": {index}}}, "environment": "cloud"}}"#,
        ports[0], ports[1]
    )
}

fn tf_task(folder: &Folder, task_type: &str, index: u32, ports: &[u16]) -> Command {
    let mut command = folder.command(FLAGS);
    command.env("TF_CONFIG", tf_config(task_type, index, ports));
    command
}

#[test]
fn tf_config_starts_the_right_tasks_without_cluster_flags() {
    let tasks = [("worker", 0), ("ps", 1), ("chief", 0), ("ps", 0)];
    let folder = run_on_free_ports(&["localhost"; 2], |folder, ports| {
        tasks.map(|(task_type, index)| tf_task(folder, task_type, index, ports)).into()
    });
    Bits::read(&folder.logdir()).assert_same(&bits_of(&format!("reference {FLAGS}")), "TF_CONFIG");
    // Started after the run, the evaluator finds the last checkpoint and ends.
    let evaluator = Process::start(tf_task(&folder, "evaluator", 0, &[1, 2])).wait();
    let message = &evaluator.expect_code(0).stdout;
    assert!(message.starts_with("After 20 training step(s), validation accuracy = "), "{message}");
}

#[test]
fn evaluator_ends_after_the_run_is_over() {
    let folder = Folder::new();
    let mut watch = folder.start("eval --watch --eval-interval-secs 0.02 --training-steps 20");
    watch.wait_for_stdout("No checkpoint file found in ");
    for steps in [10, 20] {
        assert!(watch.is_running());
        folder.run(&format!("reference {FLAGS}").replace("steps 20", &format!("steps {steps}")));
    }
    let message = watch.wait().expect_code(0).stdout.clone();
    assert!(message.contains("After 20 training step(s)"), "{message}");
}

#[test]
fn flags_override_tf_config_and_differences_are_reported() {
    let folder = Folder::new();
    // A finished run, so that the chief needs no ps.
    folder.run(&format!("reference {FLAGS} --workers 2")).expect_code(0);
    let mut command = folder.command(&format!("worker --task-id 0 --ps-hosts 127.0.0.1:1 {FLAGS}"));
    command.env("TF_CONFIG", tf_config("ps", 1, &[3, 4]));
    let mut task = Process::start(command);
    task.wait_for_stderr(
        "--ps-hosts says 127.0.0.1:1, and overrides TF_CONFIG, which says localhost:3,localhost:4",
    );
    task.wait_for_stderr(
        "the command line says worker 0, and overrides TF_CONFIG, which says ps 1",
    );
}

#[test]
fn invalid_tf_config_is_a_permanent_error() {
    for (text, message) in [
        ("{", "TF_CONFIG is not JSON"),
        ("{}", "TF_CONFIG names no ps"),
        (r#"{"cluster": {"ps": ["a"]}}"#, "cluster.ps[0]: \"a\": the port is missing"),
    ] {
        let mut command = unisono("");
        command.env("TF_CONFIG", text);
        Process::start(command).wait().expect_error(2, &[message]);
    }
}

/// Returns the command of task `rank` of a step on three nodes. Sorting the nodes as text would
/// give another order than that of the list.
fn slurm_task(folder: &Folder, rank: usize, port: u16) -> Command {
    let (node_id, local_id) = [(0, 0), (1, 0), (2, 0), (2, 1)][rank];
    let node = ["127.0.0.9", "127.0.0.10", "127.0.0.11"][node_id];
    let mut command = folder.command(&format!(
        "task --cluster slurm --ps 2 --port-base {port} --bind {node}:{port} {FLAGS}"
    ));
    command.env("SLURM_PROCID", rank.to_string());
    command.env("SLURM_STEP_NODELIST", "127.0.0.[9-11]");
    command.env("SLURM_STEP_TASKS_PER_NODE", "1(x2),2");
    command.env("SLURM_STEP_NUM_TASKS", "4");
    command.env("SLURM_NODEID", node_id.to_string());
    command.env("SLURM_LOCALID", local_id.to_string());
    command.env("SLURMD_NODENAME", node);
    command
}

#[test]
fn tasks_of_a_slurm_step_find_each_other_by_its_node_list() {
    let folder = run_on_free_ports(&["127.0.0.9"], |folder, ports| {
        (0..4).map(|rank| slurm_task(folder, rank, ports[0])).collect()
    });
    Bits::read(&folder.logdir()).assert_same(&bits_of(&format!("reference {FLAGS}")), "Slurm");
}

#[test]
fn slurm_ranks_that_are_not_distributed_in_blocks_are_refused() {
    let folder = Folder::new();
    let mut command = slurm_task(&folder, 2, 1);
    command.env("SLURM_NODEID", "0").env("SLURM_LOCALID", "1");
    Process::start(command).wait().expect_error(2, &["SLURM_NODEID 0", "--distribution=block"]);
    let mut command = slurm_task(&folder, 2, 1);
    command.env_remove("SLURM_PROCID");
    Process::start(command).wait().expect_error(2, &["SLURM_PROCID is not set", "srun"]);
}

#[test]
fn tasks_restarted_after_the_run_is_over_notice_and_end() {
    let folder = Folder::new();
    let cluster = HandStarted::new(2, 2, FLAGS, folder.logdir()).keep_sockets();
    let all = [Role::Ps(0), Role::Ps(1), Role::Worker(0), Role::Worker(1)];
    let run = || {
        let tasks = all.map(|role| cluster.start(role));
        for task in tasks {
            task.wait().expect_code(0);
        }
        Bits::read(&folder.logdir())
    };
    let first = run();
    // The chief writes its incarnation to the file `incarnation` at every start.
    let files = || {
        let entries = std::fs::read_dir(folder.logdir()).expect("the folder can be listed");
        let is_count = |entry: &std::fs::DirEntry| entry.file_name() == "incarnation";
        let entries = entries.filter(|entry| !entry.as_ref().is_ok_and(is_count));
        let files = entries.map(|entry| {
            let path = entry.expect("the file can be read").path();
            (path.clone(), std::fs::read(path).expect("the file can be read"))
        });
        files.collect::<std::collections::BTreeMap<_, _>>()
    };
    let left = files();
    first.assert_same(&run(), "again");
    assert!(left == files(), "no file is written again");
}
