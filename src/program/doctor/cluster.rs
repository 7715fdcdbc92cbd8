//! Checks of the cluster: ports, names, peers and authentication.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::finding::Finding;
use crate::program::doctor::patient::Patient;
use unisono_config::{ClusterSpec, HostPort, SecurityConfig};
use unisono_core::ids::{Job, TaskId};
use unisono_net::tcp::{self, Security};
use unisono_task::listen::{self, Unreachable};

/// The time to wait for a peer. A reachable machine answers sooner.
const PATIENCE: Duration = Duration::from_secs(2);

/// A certificate that expires within this time causes a warning.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Checks that a ps can listen at its address. Workers do not listen.
pub(super) fn ports(patient: &Patient) -> Option<Finding> {
    if matches!(patient, Patient::Local(_)) {
        return Some(match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
            Ok(_) => Finding::ok("ports", "free ports exist on 127.0.0.1"),
            Err(error) => Finding::fail(
                "ports",
                format!("cannot listen on 127.0.0.1: {error}"),
                "bring the loopback interface up, as with `ip link set lo up`",
            ),
        });
    }
    let Patient::Task(config) = patient else { return None };
    if config.task.job != Job::Ps {
        return None;
    }
    let addresses = match listen::listen(config) {
        Ok(listeners) => listeners.addresses().unwrap_or_default(),
        Err(error) => return Some(Finding::error("ports", &error.into())),
    };
    Some(match listen::unreachable(config, &addresses) {
        Some(Unreachable { what, remedy }) => Finding::warn("ports", what, remedy),
        None => Finding::ok("ports", format!("can listen at {}", listen::shown(&addresses))),
    })
}

/// Checks that every name of the cluster has an address.
pub(super) fn names(cluster: &ClusterSpec) -> Finding {
    let unresolved: Vec<_> = cluster
        .tasks()
        .filter_map(|(task, address)| resolve(address).err().map(|why| (task, address, why)))
        .collect();
    let told = |(task, address, why): &(TaskId, &HostPort, String)| {
        format!("{} of {task}: {why}", address.to_lookup().0)
    };
    let all: Vec<_> = unresolved.iter().map(told).collect();
    let what = format!("no address for {}", all.join("; "));
    let remedy = "correct --ps-hosts and --worker-hosts, or DNS";
    if unresolved.iter().any(|(task, ..)| task.job == Job::Ps) {
        return Finding::fail("names", what, remedy);
    }
    if !unresolved.is_empty() {
        // This is only a warning, because no task calls a worker.
        return Finding::warn("names", what, remedy);
    }
    let n = cluster.tasks().count();
    Finding::ok("names", format!("the hosts of all {n} tasks have addresses"))
}

fn resolve(address: &HostPort) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = address.to_lookup();
    let found = (host.as_str(), port).to_socket_addrs().map_err(|error| error.to_string())?;
    let found: Vec<_> = found.collect();
    if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
}

/// Checks each ps that this task will call. The ps should listen, and must accept this task's
/// authentication.
pub(super) fn peers(patient: &Patient, cluster: &ClusterSpec) -> Vec<Finding> {
    let mine = patient.tasks();
    // Unusable security files are reported by the check `security`, and not here.
    let security = Security::load(&patient.run().security, mine[0]).unwrap_or_default();
    let all = (0..).map(TaskId::ps).zip(cluster.ps());
    all.filter(|(task, _)| !mine.contains(task))
        .map(|(task, at)| peer(task, at, &security))
        .collect()
}

fn peer(task: TaskId, address: &HostPort, security: &Security) -> Finding {
    // A name without an address is reported by the check `names`, and not here.
    let addresses = resolve(address).unwrap_or_default();
    let mut why = None;
    for address in &addresses {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => return answers(task, *address, stream, security),
            Err(error) => why = Some(error),
        }
    }
    match why {
        None => Finding::fail("peers", format!("{task} cannot be called"), "see the check `names`"),
        Some(error) if error.kind() == ErrorKind::ConnectionRefused => Finding::warn(
            "peers",
            format!("no process listens at {address} for {task}"),
            "this is normal if the task has not been started yet: tasks start in any order",
        ),
        Some(error) => Finding::warn(
            "peers",
            format!("{address} of {task} cannot be reached: {error}"),
            "look for a firewall, or a machine that is down; tasks wait for each other",
        ),
    }
}

/// Checks that the listening process proves that it is `task`, and that it accepts the proof of
/// this task.
fn answers(task: TaskId, at: SocketAddr, stream: TcpStream, security: &Security) -> Finding {
    let proves = || -> anyhow::Result<()> {
        stream.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let proof = tokio::time::timeout(PATIENCE, security.try_out(stream, task));
            proof.await.context("no answer")?.map_err(anyhow::Error::msg)
        })
    };
    match proves() {
        Ok(()) if security.is_open() => Finding::ok("peers", format!("{task} listens at {at}")),
        Ok(()) => Finding::ok("peers", format!("{task} at {at} has authenticated itself")),
        Err(why) => Finding::fail(
            "peers",
            format!("{task} at {at} and this task cannot authenticate each other: {why}"),
            "compare the addresses and the security files of both tasks",
        ),
    }
}

/// Checks that the tasks on this machine can serve metrics at their addresses.
pub(super) fn metrics(patient: &Patient) -> Option<Finding> {
    let of = |task| match patient {
        Patient::Local(_) => patient.run().metrics_of(task).ok().flatten(),
        Patient::Task(_) => patient.run().metrics.clone(),
    };
    let addresses: Vec<_> = patient.tasks().into_iter().filter_map(of).collect();
    let taken = addresses.iter().find_map(|address| {
        let (host, port) = address.to_lookup();
        TcpListener::bind((host.as_str(), port)).err().map(|error| (address, error))
    });
    Some(match (addresses.first()?, taken) {
        (first, None) => Finding::ok("metrics", format!("can be served at {first}")),
        (_, Some((address, error))) => Finding::warn(
            "metrics",
            format!("cannot listen at {address}: {error}"),
            "choose another --metrics, or port 0; a run continues without metrics",
        ),
    })
}

/// Checks the files with which tasks authenticate each other.
pub(super) fn security(patient: &Patient) -> Finding {
    let config = &patient.run().security;
    let loads = |task: &TaskId| Security::load(config, *task).map(|_| ());
    if let Err(error) = patient.tasks().iter().try_for_each(loads) {
        return Finding::error("security", &error.into());
    }
    match config {
        SecurityConfig::Open if is_on_loopback(patient) => {
            Finding::ok("security", "none, but only this machine can call")
        }
        SecurityConfig::Open => Finding::warn(
            "security",
            "none: every process that reaches a port of the cluster can join the run or end it",
            "give --secret-file, or --tls-cert, --tls-key and --tls-ca (docs/security.md), unless \
             nobody else uses the network",
        ),
        SecurityConfig::Secret(file) if is_open_to_others(file) => Finding::warn(
            "security",
            format!("others on this machine can read {}", file.display()),
            "a reader of the secret can join the run or end it: chmod 600, unless you are the only user",
        ),
        SecurityConfig::Secret(_) => Finding::ok("security", "the secret is long enough"),
        SecurityConfig::Tls(files) if is_open_to_others(&files.key) => Finding::warn(
            "security",
            format!("others on this machine can read {}", files.key.display()),
            "a reader of the key can act as this task: chmod 600, unless you are the only user",
        ),
        SecurityConfig::Tls(files) => match tcp::security::is_valid_for(files, SOON) {
            Ok(true) => Finding::ok("security", "the certificate is valid for at least 30 days"),
            Ok(false) => Finding::warn(
                "security",
                format!("the certificate in {} expires within 30 days", files.cert.display()),
                "make a new one: tasks that start later are refused, but running ones continue",
            ),
            Err(error) => Finding::error("security", &error.into()),
        },
    }
}

fn is_open_to_others(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// Returns whether only this machine can call the ps of the cluster.
fn is_on_loopback(patient: &Patient) -> bool {
    let Patient::Task(config) = patient else { return true };
    let is_here = |address: &HostPort| {
        resolve(address).is_ok_and(|all| all.iter().all(|one| one.ip().is_loopback()))
    };
    // A ps that a cluster engine, such as Kubeflow, has placed listens at all addresses of its
    // machine.
    let is_beyond = config.bind.as_ref().map_or(config.is_placed, |bind| !is_here(bind));
    !is_beyond && config.cluster.ps().iter().all(is_here)
}
