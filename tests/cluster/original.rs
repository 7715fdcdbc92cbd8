//! The unchanged command lines of the original script, started in any order, with host names, IPv4
//! and IPv6 addresses. Every ps binds its port itself.

use std::net::{IpAddr, Ipv6Addr, TcpListener};

use crate::support::{Bits, Folder, Process, bits_of, unisono, wait_until};

const FLAGS: &str = "--hidden 32 --batch_size=20 --training_steps=20";
/// Limit of attempts to find free ports. Another process may take a port before the program binds
/// it.
const MAX_ATTEMPTS: u32 = 10;

/// The start of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Ps(usize),
    Worker(usize),
    /// Starts a worker. The next task starts only after this worker failed to reach a ps.
    WorkerThatWaits(usize),
}

use Start::{Ps, Worker, WorkerThatWaits};

fn assert_runs_in_order(host: &str, order: [Start; 4]) {
    let expected = bits_of(&format!("reference {FLAGS} --workers 2"));
    let bits = (0..MAX_ATTEMPTS).find_map(|_| run_in_order(host, order));
    let bits = bits.unwrap_or_else(|| panic!("no free ports in {MAX_ATTEMPTS} attempts"));
    bits.assert_same(&expected, &format!("{host}, {order:?}"));
}

/// Runs the tasks to their end. Returns `None` if another process took a port.
fn run_in_order(host: &str, order: [Start; 4]) -> Option<Bits> {
    let folder = Folder::new();
    let ports = free_ports(host);
    let address = |port: &u16| format!("{host}:{port}");
    let hosts = ports.iter().map(address).collect::<Vec<_>>();
    let cluster =
        format!("--ps_hosts={} --worker_hosts={}", hosts[..2].join(","), hosts[2..].join(","));
    let mut tasks = Vec::new();
    for start in order {
        let (job, index) = match start {
            Ps(index) => ("ps", index),
            Worker(index) | WorkerThatWaits(index) => ("worker", index),
        };
        let words = format!("--job_name={job} --task_id={index} {cluster} {FLAGS}");
        let mut command = unisono(&words);
        command.arg(format!("--logdir={}", folder.logdir().display()));
        command.env("UNISONO_LOG", "info");
        let mut task = Process::start(command);
        if let WorkerThatWaits(_) = start {
            task.wait_for_stderr(" disconnected: ");
        }
        tasks.push(task);
    }
    // A ps that cannot bind its port exits, and the other tasks would wait for it forever.
    let is_taken = |tasks: &[Process]| tasks.iter().any(|ps| ps.stderr().contains(" is taken: "));
    wait_until("the tasks end", || is_taken(&tasks) || !tasks.iter_mut().any(Process::is_running));
    if is_taken(&tasks) {
        return None;
    }
    for task in tasks {
        task.wait().expect_code(0);
    }
    Some(Bits::read(&folder.logdir()))
}

fn free_ports(host: &str) -> [u16; 4] {
    let host = host.trim_matches(['[', ']']);
    let sockets = [(); 4].map(|()| TcpListener::bind((host, 0)).expect("a port is free"));
    sockets.map(|socket| socket.local_addr().expect("the listener is bound").port())
}

#[test]
fn original_commands_train_if_the_ps_start_first() {
    assert_runs_in_order("localhost", [Ps(0), Ps(1), Worker(0), Worker(1)]);
}

#[test]
fn original_commands_train_if_the_workers_start_first() {
    let order = [WorkerThatWaits(1), WorkerThatWaits(0), Ps(1), Ps(0)];
    assert_runs_in_order("localhost", order);
}

#[test]
fn original_commands_train_if_the_chief_starts_last() {
    assert_runs_in_order("127.0.0.1", [Ps(1), WorkerThatWaits(1), Ps(0), Worker(0)]);
}

#[test]
fn original_commands_train_at_ipv6_addresses() {
    if TcpListener::bind((IpAddr::V6(Ipv6Addr::LOCALHOST), 0)).is_err() {
        return; // This machine has no IPv6.
    }
    assert_runs_in_order("[::1]", [Ps(0), WorkerThatWaits(0), Ps(1), Worker(1)]);
}
