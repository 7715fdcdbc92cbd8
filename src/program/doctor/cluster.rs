//! The cluster: ports, names, the others, and who may join.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::finding::Finding;
use crate::program::doctor::patient::Patient;
use crate::program::listen;
use crate::program::listen::Unreachable;
use unisono_config::{ClusterSpec, HostPort, SecurityConfig};
use unisono_core::ids::{Job, TaskId};
use unisono_net::tcp;
use unisono_net::tcp::Security;

/// A machine that is there answers sooner.
const PATIENCE: Duration = Duration::from_secs(2);

/// A certificate that runs out sooner is warned of.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whether a ps can listen where it should. A worker listens nowhere.
pub(super) fn ports(patient: &Patient) -> Option<Finding> {
    if matches!(patient, Patient::Local(_)) {
        return Some(match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
            Ok(_) => Finding::ok("ports", "there are free ones on 127.0.0.1"),
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
        None => Finding::ok("ports", format!("free to listen at: {}", listen::shown(&addresses))),
    })
}

/// Whether every name of the cluster has an address.
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
        // Nobody calls a worker.
        return Finding::warn("names", what, remedy);
    }
    let n = cluster.tasks().count();
    Finding::ok("names", format!("the hosts of all {n} tasks have addresses"))
}

fn resolve(address: &HostPort) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = address.to_lookup();
    let found = (host.as_str(), port).to_socket_addrs().map_err(|error| error.to_string())?;
    let found: Vec<_> = found.collect();
    if found.is_empty() { Err("it has none".to_owned()) } else { Ok(found) }
}

/// Whether the ps that this task will call are there, and let it in.
pub(super) fn peers(patient: &Patient, cluster: &ClusterSpec) -> Vec<Finding> {
    let mine = patient.tasks();
    // Files that are of no use are told already.
    let security = Security::load(&patient.run().security, mine[0]).unwrap_or_default();
    let all = (0..).map(TaskId::ps).zip(cluster.ps());
    all.filter(|(task, _)| !mine.contains(task))
        .map(|(task, at)| peer(task, at, &security))
        .collect()
}

fn peer(task: TaskId, address: &HostPort, security: &Security) -> Finding {
    // What has no address is told already.
    let addresses = resolve(address).unwrap_or_default();
    let mut why = None;
    for address in &addresses {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => return answers(task, *address, stream, security),
            Err(error) => why = Some(error),
        }
    }
    match why {
        None => Finding::fail("peers", format!("{task} cannot be called"), "see names"),
        Some(error) if error.kind() == ErrorKind::ConnectionRefused => Finding::warn(
            "peers",
            format!("nobody listens at {address} for {task}"),
            "if it has not been started yet, all is well: tasks start in any order",
        ),
        Some(error) => Finding::warn(
            "peers",
            format!("{address} of {task} cannot be reached: {error}"),
            "look for a firewall between, or a machine that is down; tasks wait for each other",
        ),
    }
}

/// Whether who listens is the task, as far as it can prove that, and takes this one for what it is.
fn answers(task: TaskId, at: SocketAddr, stream: TcpStream, security: &Security) -> Finding {
    let proves = || -> anyhow::Result<()> {
        stream.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let proof = tokio::time::timeout(PATIENCE, security.try_out(stream, task));
            proof.await.context("it does not answer")?.map_err(anyhow::Error::msg)
        })
    };
    match proves() {
        Ok(()) if security.is_open() => Finding::ok("peers", format!("{task} listens at {at}")),
        Ok(()) => Finding::ok("peers", format!("{task} at {at} has proved who it is")),
        Err(why) => Finding::fail(
            "peers",
            format!("{task} at {at} and this task do not prove to each other who they are: {why}"),
            "compare the addresses, and the files of security, of the two",
        ),
    }
}

/// Whether the metrics of the tasks that run here can be served where they should be.
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
        (first, None) => Finding::ok("metrics", format!("{first} is free to serve them at")),
        (_, Some((address, error))) => Finding::warn(
            "metrics",
            format!("cannot listen at {address}: {error}"),
            "choose another --metrics, or port 0: a run goes on without",
        ),
    })
}

/// Whether the files with which tasks prove who they are are of use.
pub(super) fn security(patient: &Patient) -> Finding {
    let config = &patient.run().security;
    let loads = |task: &TaskId| Security::load(config, *task).map(|_| ());
    if let Err(error) = patient.tasks().iter().try_for_each(loads) {
        return Finding::error("security", &error.into());
    }
    match config {
        SecurityConfig::Open if is_on_loopback(patient) => {
            Finding::ok("security", "none, and only this machine can call")
        }
        SecurityConfig::Open => Finding::warn(
            "security",
            "none: whoever reaches a port of the cluster can join the run or end it",
            "give --secret-file, or --tls-cert, --tls-key and --tls-ca (docs/security.md), unless \
             the network is yours alone",
        ),
        SecurityConfig::Secret(file) if is_open_to_others(file) => Finding::warn(
            "security",
            format!("others on this machine can read {}", file.display()),
            "whoever reads it can join the run or end it: chmod 600, unless only you are there",
        ),
        SecurityConfig::Secret(_) => Finding::ok("security", "a secret of good length"),
        SecurityConfig::Tls(files) if is_open_to_others(&files.key) => Finding::warn(
            "security",
            format!("others on this machine can read {}", files.key.display()),
            "whoever reads it can be taken for this task: chmod 600, unless only you are there",
        ),
        SecurityConfig::Tls(files) => match tcp::security::is_valid_for(files, SOON) {
            Ok(true) => Finding::ok("security", "the certificate is valid, for 30 days and more"),
            Ok(false) => Finding::warn(
                "security",
                format!("the certificate in {} runs out within 30 days", files.cert.display()),
                "have a new one made: tasks that start then are refused, running ones go on",
            ),
            Err(error) => Finding::error("security", &error.into()),
        },
    }
}

fn is_open_to_others(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// Whether nobody but this machine can call the ps of the cluster.
fn is_on_loopback(patient: &Patient) -> bool {
    let Patient::Task(config) = patient else { return true };
    let is_here = |address: &HostPort| {
        resolve(address).is_ok_and(|all| all.iter().all(|one| one.ip().is_loopback()))
    };
    // A ps that an engine placed listens at all addresses of its machine.
    let is_beyond = config.bind.as_ref().map_or(config.is_placed, |bind| !is_here(bind));
    !is_beyond && config.cluster.ps().iter().all(is_here)
}
