//! The addresses of the tasks of a cluster: `host:port`, and the lists of the ps and of the
//! workers.
//!
//! This module does not resolve names.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

pub use super::host::Host;
use super::host::{parse_host, parse_ipv6};
use crate::hosts_error::HostsError;
use crate::values::digits;
use unisono_core::ids::{Job, TaskId};

/// The address of one task: a host name, an IPv4 address or a bracketed IPv6 address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    host: Host,
    port: u16,
}

impl HostPort {
    /// Creates the address of `port` on `host`.
    ///
    /// # Panics
    /// Panics if the port is 0, because no client can connect to port 0.
    #[must_use]
    pub fn new(host: Host, port: u16) -> Self {
        assert!(port > 0, "port 0 of {host:?} cannot be connected to");
        Self { host, port }
    }

    /// Returns the host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the port. It is never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the host without brackets, as resolvers expect hosts, and the port.
    #[must_use]
    pub fn to_lookup(&self) -> (String, u16) {
        (self.host.to_string(), self.port)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host {
            Host::Name(_) | Host::V4(_) => write!(f, "{host}:{port}"),
            Host::V6(_) | Host::LinkLocal(..) => write!(f, "[{host}]:{port}"),
        }
    }
}

impl FromStr for HostPort {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, HostsError> {
        if text.is_empty() {
            return Err(HostsError::Empty);
        }
        let wrong =
            |why: &str| HostsError::Malformed { value: text.to_owned(), why: why.to_owned() };
        let in_ipv6 = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("the bracket is not closed; write it like [::1]:20000"))?;
                let host = parse_ipv6(address).map_err(wrong)?;
                let port = match port.strip_prefix(':') {
                    Some(port) => port,
                    None if port.is_empty() => "",
                    None => return Err(wrong("write : and the port after ]")),
                };
                (host, port)
            }
            None if text.bytes().all(in_ipv6) && text.matches(':').count() > 1 => {
                return Err(wrong("an IPv6 address goes in brackets, like [::1]:20000"));
            }
            None => {
                let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
                (parse_host(host).map_err(wrong)?, port)
            }
        };
        if port.is_empty() {
            return Err(wrong("the port is missing; write host:port, like localhost:20000"));
        }
        let port = digits(port)
            .filter(|port| *port > 0)
            .ok_or_else(|| wrong("a port is a number from 1 to 65535"))?;
        Ok(Self { host, port })
    }
}

/// The addresses of the tasks of one job, in the order of the task numbers. The list has at least
/// one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostList(Vec<HostPort>);

impl HostList {
    /// Creates the list of a job's addresses.
    ///
    /// # Errors
    /// Returns an error if the list is empty.
    pub fn new(hosts: Vec<HostPort>) -> Result<Self, HostsError> {
        if hosts.is_empty() { Err(HostsError::NoHosts) } else { Ok(Self(hosts)) }
    }

    /// Returns the addresses, in the order of the tasks' numbers.
    #[must_use]
    pub fn as_slice(&self) -> &[HostPort] {
        &self.0
    }
}

impl fmt::Display for HostList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, host) in self.0.iter().enumerate() {
            write!(f, "{}{host}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for HostList {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, HostsError> {
        if text.trim().is_empty() {
            return Err(HostsError::NoHosts);
        }
        Self::new(text.split(',').map(|host| host.trim().parse()).collect::<Result<_, _>>()?)
    }
}

impl Serialize for HostList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for HostList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = HostList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of hosts, like [\"localhost:20000\", \"localhost:20001\"]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<HostList, A::Error> {
                let mut hosts = Vec::new();
                while let Some(text) = texts.next_element::<String>()? {
                    hosts.push(text.parse().map_err(A::Error::custom)?);
                }
                HostList::new(hosts).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// The address of every task of the cluster, as in TensorFlow's `ClusterSpec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct ClusterSpec {
    pub(super) ps: HostList,
    pub(super) workers: HostList,
}

impl ClusterSpec {
    /// Creates the cluster of these hosts.
    ///
    /// # Errors
    /// Returns an error if two tasks have the same address.
    pub fn new(ps: HostList, workers: HostList) -> Result<Self, HostsError> {
        let spec = Self { ps, workers };
        let mut seen = BTreeMap::new();
        for (second, address) in spec.tasks() {
            if let Some(first) = seen.insert(address, second) {
                return Err(HostsError::Duplicate { value: address.to_string(), first, second });
            }
        }
        Ok(spec)
    }

    /// Returns the addresses of the parameter servers, in the order of the task numbers.
    #[must_use]
    pub fn ps(&self) -> &[HostPort] {
        &self.ps.0
    }

    /// Returns the addresses of the workers, in the order of the task numbers.
    #[must_use]
    pub fn workers(&self) -> &[HostPort] {
        &self.workers.0
    }

    /// Returns the addresses of a job's tasks, in the order of the task numbers.
    #[must_use]
    pub fn job(&self, job: Job) -> &[HostPort] {
        match job {
            Job::Ps => self.ps(),
            Job::Worker => self.workers(),
        }
    }

    /// Returns the address of a task, if the cluster has the task.
    #[must_use]
    pub fn address(&self, task: TaskId) -> Option<&HostPort> {
        self.job(task.job).get(task.index as usize)
    }

    /// Returns all tasks with their addresses, the ps first.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &HostPort)> {
        let ps = (0..).map(TaskId::ps).zip(self.ps());
        ps.chain((0..).map(TaskId::worker).zip(self.workers()))
    }
}

impl Default for ClusterSpec {
    /// Returns the hosts of the original script.
    fn default() -> Self {
        let local = |port| HostPort::new(Host::Name("localhost".to_owned()), port);
        Self {
            ps: HostList(vec![local(20000), local(20001)]),
            workers: HostList(vec![local(20003), local(20004)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<HostList>().expect_err(text).to_string()
    }

    #[test]
    fn names_ipv4_and_ipv6_are_printed_as_they_were_read() {
        for text in [
            "localhost:20000",
            "ps-0.ns.svc:2222",
            "10.0.0.1:1",
            "[::1]:65535",
            "a_b:8",
            "[fe80::1%eth0]:80",
            "[fe80::1%2]:80",
        ] {
            assert_eq!(text.parse::<HostPort>().expect(text).to_string(), text);
        }
        let lookup = |text: &str| text.parse::<HostPort>().expect(text).to_lookup();
        assert_eq!(lookup("[fd00::1]:80"), ("fd00::1".to_owned(), 80));
        assert_eq!(lookup("[fe80::1%eth0]:80"), ("fe80::1%eth0".to_owned(), 80));
    }

    #[test]
    fn host_names_ignore_case() {
        assert_eq!("LocalHost:1".parse::<HostPort>(), "localhost:1".parse());
    }

    #[test]
    fn every_malformed_host_is_reported_with_its_remedy() {
        let all = [
            "",
            "a:1,,b:2",
            "localhost",
            "localhost:",
            ":20000",
            "localhost:0",
            "localhost:65536",
            "localhost:+1",
            "::1:20000",
            "::1",
            "[::1]",
            "[::1",
            "[::1]20000",
            "[x]:1",
            "[fe80::1]:1",
            "[fe80::1%]:1",
            "[fd00::1%eth0]:1",
            "1001:4",
            "1.2.3:4",
            "300.1.1.1:4",
            "a b:1",
            "http://a:1",
        ]
        .map(error)
        .join("\n");
        insta::assert_snapshot!(all, @r#"
        there are no hosts; name at least one host:port, like localhost:20000
        a host in the list is empty; write host:port,host:port with a single comma between
        "localhost": the port is missing; write host:port, like localhost:20000
        "localhost:": the port is missing; write host:port, like localhost:20000
        ":20000": the host is missing; write host:port, like localhost:20000
        "localhost:0": a port is a number from 1 to 65535
        "localhost:65536": a port is a number from 1 to 65535
        "localhost:+1": a port is a number from 1 to 65535
        "::1:20000": an IPv6 address goes in brackets, like [::1]:20000
        "::1": an IPv6 address goes in brackets, like [::1]:20000
        "[::1]": the port is missing; write host:port, like localhost:20000
        "[::1": the bracket is not closed; write it like [::1]:20000
        "[::1]20000": write : and the port after ]
        "[x]:1": there is no IPv6 address between the brackets
        "[fe80::1]:1": a link-local address needs the interface that leads to it, like [fe80::1%eth0]:20000; `ip -6 address` lists the interfaces
        "[fe80::1%]:1": write an interface of this machine after %, like [fe80::1%eth0]:20000
        "[fd00::1%eth0]:1": only link-local addresses (fe80::…) have an interface: leave out % and the text after it
        "1001:4": the system takes this number for an IPv4 address and does not look up a name: give the full name, like 1001.example.org, or the address of the host
        "1.2.3:4": this is not an IPv4 address
        "300.1.1.1:4": this is not an IPv4 address
        "a b:1": a host name is made of letters, digits, dots and dashes
        "http://a:1": a host name is made of letters, digits, dots and dashes
        "#);
    }

    #[test]
    fn repeated_address_is_refused_with_both_tasks() {
        let cluster = |ps: &str, workers: &str| {
            ClusterSpec::new(ps.parse().unwrap(), workers.parse().unwrap())
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            cluster("a:1", "b:1,A:1"),
            Err("a:1 is the address of ps 0 and of worker 1; give every task its own".to_owned())
        );
        assert!(cluster("a:1,a:2", "b:1,a:3").is_ok());
    }

    #[test]
    fn default_cluster_is_that_of_the_original_script() {
        let all: Vec<_> = ClusterSpec::default()
            .tasks()
            .map(|(task, address)| format!("{task} {address}"))
            .collect();
        assert_eq!(
            all,
            [
                "ps 0 localhost:20000",
                "ps 1 localhost:20001",
                "worker 0 localhost:20003",
                "worker 1 localhost:20004"
            ]
        );
    }
}
