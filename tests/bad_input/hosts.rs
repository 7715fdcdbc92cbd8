//! Host lists that form no cluster, and addresses on which the program cannot listen.

use std::net::TcpListener;

use crate::support::Folder;

#[test]
fn host_lists_that_form_no_cluster_are_refused() {
    let folder = Folder::new();
    let two = "--ps-hosts localhost:1,localhost:2 --worker-hosts localhost:3,localhost:4";
    for (words, message) in [
        (format!("ps --task-id 2 {two}"), ["task id 2", "2 tasks", "--task-id is 0 to 1"]),
        (format!("worker --task-id 9 {two}"), ["task id 9", "out of range", "--worker-hosts"]),
        (format!("--job_name=ps --task_id=2 {two}"), ["task id 2", "2 tasks", "--ps-hosts"]),
        ("ps --ps-hosts \"\"".to_owned(), ["--ps-hosts", "there are no hosts", "localhost:20000"]),
        ("ps --ps-hosts a:1,,b:1".to_owned(), ["'a:1,,b:1'", "is empty", "host:port,host:port"]),
        ("ps --ps-hosts a:1,a:1".to_owned(), ["a:1", "ps 0 and of ps 1", "its own"]),
        (
            "worker --ps-hosts a:1 --worker-hosts A:1".to_owned(),
            ["a:1", "ps 0 and of worker 0", "its own"],
        ),
        ("ps --ps-hosts localhost:0".to_owned(), ["localhost:0", "a port is", "1 to 65535"]),
        ("worker --ps-hosts localhost".to_owned(), ["localhost", "port is missing", "host:port"]),
        ("worker --ps-hosts 1001:2222".to_owned(), ["1001", "for an IPv4 address", "full name"]),
        ("ps --ps-hosts [fe80::1]:1".to_owned(), ["[fe80::1]", "the interface", "[fe80::1%eth0]"]),
    ] {
        folder.run(&words).expect_error(2, &message);
    }
    assert!(!folder.logdir().exists());
}

#[test]
fn error_for_a_port_in_use_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("the listener is bound");
    let port = format!("port {} of 127.0.0.1 is taken", address.port());
    let folder = Folder::new();
    for words in [
        format!("ps --ps-hosts {address} --worker-hosts localhost:1"),
        format!("--job_name=ps --task_id=0 --ps_hosts={address} --worker_hosts=localhost:1"),
        format!("ps --ps-hosts elsewhere:1 --worker-hosts localhost:1 --bind {address}"),
    ] {
        let ended = folder.run(&words);
        ended.expect_error(1, &[&port, "choose another port"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn error_for_an_unresolvable_host_names_the_host() {
    let folder = Folder::new();
    let hosts = "--ps-hosts localhost:1,no-such-host.invalid:2 --worker-hosts localhost:3";
    for (task, message) in [
        ("ps --task-id 1", ["no-such-host.invalid", "cannot be resolved", "its spelling"]),
        ("worker", ["no-such-host.invalid of ps 1", "cannot be resolved", "--ps-hosts"]),
    ] {
        folder.run(&format!("{task} {hosts}")).expect_error(1, &message);
    }
    assert!(!folder.logdir().exists());
}

#[test]
fn error_for_an_address_of_another_machine_suggests_the_bind_flag() {
    let folder = Folder::new();
    let words = "ps --ps-hosts 192.0.2.1:2222 --worker-hosts localhost:1";
    folder.run(words).expect_error(1, &["192.0.2.1 is not an address of this machine", "--bind"]);
}

#[test]
fn names_of_digits_and_addresses_with_an_interface_reach_the_resolver() {
    let folder = Folder::new();
    for host in ["123456789012", "[fe80::1%no-such-if]"] {
        let words = format!("worker --ps-hosts {host}:2222 --worker-hosts localhost:1");
        let name = host.trim_matches(['[', ']']);
        folder.run(&words).expect_error(1, &[name, "cannot be resolved"]);
    }
}
