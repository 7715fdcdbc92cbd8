//! Opens the sockets of a ps, and recognises addresses that other machines cannot reach. The
//! commands `unisono ps` and `unisono doctor` share this file, so that their results agree.

use std::net::SocketAddr;

use crate::task_config::TaskConfig;
use unisono_net::tcp::{self, BindError, Listeners};

/// Listens at the address of the task.
///
/// # Errors
/// Returns an error if the port is taken, this user may not use it, or the address belongs to
/// another machine.
pub fn listen(config: &TaskConfig) -> Result<Listeners, BindError> {
    match (&config.bind, config.cluster.address(config.task)) {
        (Some(bind), _) => tcp::bind(&bind.to_string()),
        (None, Some(own)) if config.is_placed => tcp::bind_everywhere(own.port()),
        (None, own) => tcp::bind(&own.map(ToString::to_string).unwrap_or_default()),
    }
}

/// An address at which a ps can listen, but which other machines probably cannot reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The address, and why other machines cannot reach it.
    pub what: String,
    /// What the user can do.
    pub remedy: String,
}

/// Returns the reason why tasks on other machines cannot reach a ps that listens at these
/// addresses. Returns `None` if these tasks can reach the ps, or if all tasks run on this machine.
///
/// With `--bind`, the result is `None`, because the user chose the address, for example for a
/// tunnel. The names of other tasks are not resolved, because a resolver may take long, and a name
/// may have another address on another machine.
pub fn unreachable(config: &TaskConfig, addresses: &[SocketAddr]) -> Option<Unreachable> {
    let TaskConfig { task, cluster, bind, .. } = config;
    let own = cluster.address(*task).filter(|_| bind.is_none())?;
    if !addresses.iter().all(|address| address.ip().is_loopback()) {
        return None;
    }
    let at = shown(addresses);
    if !own.host().is_loopback_by_name() {
        return Some(Unreachable {
            what: format!(
                "{task} listens at {at}, where tasks of other machines cannot reach it: {} has no \
                 other address on this machine",
                own.host()
            ),
            remedy: format!("add --bind 0.0.0.0:{}, unless all tasks run here", own.port()),
        });
    }
    let elsewhere = cluster.tasks().find(|(_, other)| !other.host().is_loopback_by_name());
    elsewhere.map(|(other, other_address)| Unreachable {
        what: format!(
            "{task} listens at {at}, where tasks of other machines, such as {other} at \
             {other_address}, cannot reach it"
        ),
        remedy: format!(
            "give {task} in --ps-hosts, to all tasks, a name or an address of its machine, unless \
             all tasks run here"
        ),
    })
}

/// Joins addresses for a message.
pub fn shown(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_config::{ClusterSpec, RunConfig};
    use unisono_core::ids::TaskId;

    fn told(ps_hosts: &str, worker_hosts: &str, bind: Option<&str>, at: &[&str]) -> String {
        let config = TaskConfig {
            task: TaskId::ps(0),
            cluster: ClusterSpec::new(ps_hosts.parse().unwrap(), worker_hosts.parse().unwrap())
                .unwrap(),
            run: RunConfig::default(),
            bind: bind.map(|bind| bind.parse().unwrap()),
            is_placed: false,
            notes: Vec::new(),
            exit_with_parent: false,
            logdir_locked_by: unisono_files::disk::LockedBy::Nobody,
        };
        let at: Vec<_> = at.iter().map(|address| address.parse().unwrap()).collect();
        let told = unreachable(&config, &at);
        told.map_or_else(String::new, |Unreachable { what, remedy }| format!("{what}; {remedy}"))
    }

    #[test]
    fn name_with_only_a_loopback_address_is_reported_with_the_bind_flag() {
        // Debian's hosts file gives the machine's own name the address 127.0.1.1. The workers run
        // on the same machine in the first case, and on another machine in the second.
        for workers in ["nodea:2223", "nodeb:2222"] {
            assert_eq!(
                told("nodea:2222", workers, None, &["127.0.1.1:2222"]),
                "ps 0 listens at 127.0.1.1:2222, where tasks of other machines cannot reach it: \
                 nodea has no other address on this machine; add --bind 0.0.0.0:2222, unless all \
                 tasks run here"
            );
        }
    }

    #[test]
    fn localhost_in_a_cluster_of_several_machines_is_reported() {
        assert_eq!(
            told("localhost:2222", "nodeb:2222", None, &["[::1]:2222", "127.0.0.1:2222"]),
            "ps 0 listens at [::1]:2222 and 127.0.0.1:2222, where tasks of other machines, such as \
             worker 0 at nodeb:2222, cannot reach it; give ps 0 in --ps-hosts, to all tasks, a name \
             or an address of its machine, unless all tasks run here"
        );
    }

    #[test]
    fn reachable_or_chosen_addresses_are_not_reported() {
        let at = &["127.0.0.1:2222"];
        assert_eq!(told("localhost:2222", "127.0.0.1:2223,a.localhost:1", None, at), "");
        assert_eq!(told("nodea:2222", "nodeb:2222", None, &["127.0.1.1:1", "10.9.0.1:1"]), "");
        assert_eq!(told("nodea:2222", "nodeb:2222", Some("127.0.0.1:2222"), at), "");
        assert_eq!(told("nodea:2222", "nodeb:2222", Some("0.0.0.0:2222"), &["0.0.0.0:2222"]), "");
    }
}
