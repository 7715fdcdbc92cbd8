//! One attempt to call a task: resolves the task's host name, tries each address in turn, and
//! authenticates both ends.

use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::listener::host_and_port;
use crate::tcp::events::CallError;
use crate::tcp::io_error::describe;
use crate::tcp::security::authentication::Security;
use crate::tcp::security::halves::Halves;
use crate::tcp::timeouts::GREETING_TIMEOUT;
use unisono_core::ids::TaskId;

/// Time limit for resolving the name, and for connecting to each address. TCP repeats a lost SYN
/// after 1 s and after 3 s, so two lost packets are tolerated.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls a task at its address and authenticates both ends.
pub(super) async fn call(
    to: TaskId,
    address: Option<&str>,
    security: &Security,
) -> Result<Halves, CallError> {
    let Some(address) = address else {
        return Err(CallError::Unreachable(format!("{to} has no address in the cluster")));
    };
    let describe = |why| format!("{to} at {address}: {why}");
    let stream = connect(address).await.map_err(|why| CallError::Unreachable(describe(why)))?;
    // A frame is written with one call, so Nagle's algorithm would only delay the last packet of
    // each frame. If this fails, the socket is dead, and the reader reports that.
    let _ = stream.set_nodelay(true);
    match timeout(GREETING_TIMEOUT, security.call(stream, to)).await {
        Ok(Ok(halves)) => Ok(halves),
        Ok(Err(why)) => Err(CallError::Untrusted(describe(why))),
        // Silence does not count as a failed authentication, because the kernel also accepts
        // connections for a stopped process.
        Err(_) => {
            let secs = GREETING_TIMEOUT.as_secs();
            let why = format!("it did not authenticate within {secs} s");
            Err(CallError::Unreachable(describe(why)))
        }
    }
}

/// Connects to `host:port`. The error is a text for people.
async fn connect(address: &str) -> Result<TcpStream, String> {
    let Some(host_and_port) = host_and_port(address) else {
        return Err("its address is not of the form host:port".to_owned());
    };
    // Host and port are separate arguments, because only the system's resolver understands the
    // interface in `[fe80::1%eth0]:2222`, and the resolver accepts no brackets.
    let addresses = match timeout(ATTEMPT_TIMEOUT, lookup_host(host_and_port)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(format!("its name cannot be resolved: {error}")),
        Err(_) => return Err(no_answer("from the name service")),
    };
    let mut failures: Vec<String> = Vec::new();
    // All addresses of the name are tried, because the task may not listen at some of them. For
    // example, a name may include ::1 while the task listens only on 127.0.0.1.
    for address in addresses {
        let why = match timeout(ATTEMPT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) if is_connected_to_itself(&stream) => "connection refused".to_owned(),
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => describe(&error),
            Err(_) => no_answer("from it"),
        };
        // The same reason is reported only once. `localhost` usually fails in the same way at both
        // of its addresses.
        if !failures.contains(&why) {
            failures.push(why);
        }
    }
    if failures.is_empty() {
        failures.push("its name has no address".to_owned());
    }
    Err(failures.join("; "))
}

/// Returns whether the socket is connected to itself. TCP's simultaneous open causes this if the
/// called port is on this machine, no process listens there, and the system has chosen the called
/// port as the caller's own port. Such a connection must be closed, because it keeps the port from
/// the task that is to listen there.
fn is_connected_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(ours), Ok(theirs)) if ours == theirs)
}

fn no_answer(source: &str) -> String {
    format!("no answer {source} within {} s", ATTEMPT_TIMEOUT.as_secs())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    #[tokio::test]
    async fn socket_connected_to_itself_is_recognized() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let stream = socket.connect(address).await.unwrap();
        assert!(is_connected_to_itself(&stream));
    }

    #[tokio::test]
    async fn ipv6_address_with_an_interface_reaches_the_system_call() {
        // `lo` has no link-local address, so the system refuses the connection.
        let why = connect("[fe80::1%lo]:2222").await.unwrap_err();
        assert!(!why.contains("resolved") && !why.contains("form"), "{why}");
        let why = connect("[fe80::1%no-such-if]:2222").await.unwrap_err();
        assert!(why.starts_with("its name cannot be resolved: "), "{why}");
    }

    #[tokio::test]
    async fn unknown_host_name_is_reported_as_unresolved() {
        let why = connect("no-such-host.invalid:2222").await.unwrap_err();
        assert!(why.starts_with("its name cannot be resolved: "), "{why}");
    }
}
