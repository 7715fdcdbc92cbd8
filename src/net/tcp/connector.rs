//! One attempt to reach a task: the name of its address is resolved anew, and each of its addresses
//! tried; then both ends prove who they are.

use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::listener::host_and_port;
use crate::tcp::happening::CallError;
use crate::tcp::io_error::describe;
use crate::tcp::security::ends::Ends;
use crate::tcp::security::security::Security;
use crate::tcp::timeouts::GREETING_TIMEOUT;
use unisono_core::ids::TaskId;

/// How long resolving a name may take, and then each of its addresses. Longer than three
/// retransmissions of a lost SYN (1 + 2 s), shorter than a person's patience.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls a task at its address.
pub(super) async fn call(
    to: TaskId,
    address: Option<&str>,
    security: &Security,
) -> Result<Ends, CallError> {
    let Some(address) = address else {
        return Err(CallError::Unreachable(format!("{to} has no address in the cluster")));
    };
    let told = |why| format!("{to} at {address}: {why}");
    let stream = connect(address).await.map_err(|why| CallError::Unreachable(told(why)))?;
    // Frames are written whole, so waiting for more to fill a packet only delays their ends.
    // If it cannot be set the socket is dead, which its reader will find.
    let _ = stream.set_nodelay(true);
    match timeout(GREETING_TIMEOUT, security.call(stream, to)).await {
        Ok(Ok(ends)) => Ok(ends),
        Ok(Err(why)) => Err(CallError::Untrusted(told(why))),
        Err(_) => {
            let secs = GREETING_TIMEOUT.as_secs();
            Err(CallError::Unreachable(told(format!("it did not prove who it is within {secs} s"))))
        }
    }
}

/// Connects to `host:port`, or says why not, for a person.
async fn connect(address: &str) -> Result<TcpStream, String> {
    let Some(host_and_port) = host_and_port(address) else {
        return Err("its address is not of the form host:port".to_owned());
    };
    // As a pair: only the system's resolver knows the interface in `[fe80::1%eth0]:2222`, and it
    // takes no brackets.
    let addresses = match timeout(ATTEMPT_TIMEOUT, lookup_host(host_and_port)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(format!("its name cannot be resolved: {error}")),
        Err(_) => return Err(no_answer("from the name service")),
    };
    let mut failures: Vec<String> = Vec::new();
    for address in addresses {
        let why = match timeout(ATTEMPT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) if is_connected_to_itself(&stream) => "connection refused".to_owned(),
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => describe(&error),
            Err(_) => no_answer("from it"),
        };
        if !failures.contains(&why) {
            failures.push(why);
        }
    }
    if failures.is_empty() {
        failures.push("its name has no address".to_owned());
    }
    Err(failures.join("; "))
}

/// Whether the system joined the two ends of one socket. It does when nobody listens on a port of
/// this machine that it has just lent to the caller; to keep such a link would keep the port.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(ours), Ok(theirs)) if ours == theirs)
}

fn no_answer(whence: &str) -> String {
    format!("no answer {whence} within {} s", ATTEMPT_TIMEOUT.as_secs())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    #[tokio::test]
    async fn a_socket_joined_to_itself_is_told_from_a_link() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let stream = socket.connect(address).await.unwrap();
        assert!(is_connected_to_itself(&stream));
    }

    #[tokio::test]
    async fn address_with_an_interface_is_called() {
        // `lo` has no link-local address, so the call gets as far as the system's refusal.
        let why = connect("[fe80::1%lo]:2222").await.unwrap_err();
        assert!(!why.contains("resolved") && !why.contains("form"), "{why}");
        let why = connect("[fe80::1%no-such-if]:2222").await.unwrap_err();
        assert!(why.starts_with("its name cannot be resolved: "), "{why}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_said_to_be_unresolved() {
        let why = connect("no-such-host.invalid:2222").await.unwrap_err();
        assert!(why.starts_with("its name cannot be resolved: "), "{why}");
    }
}
