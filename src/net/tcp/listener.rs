//! The listening sockets of one port, and errors that name a remedy.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use thiserror::Error;
use tokio::net::TcpStream;

/// The reason for which a task cannot listen on an address.
#[derive(Debug, Error)]
pub enum BindError {
    /// The text is not of the form `host:port`.
    #[error("\"{0}\" is not an address: write HOST:PORT, such as localhost:2222 or [::1]:2222")]
    Malformed(String),
    /// The host name cannot be resolved.
    #[error(
        "the host name {host} cannot be resolved: {error}; check its spelling, or give its address"
    )]
    Unresolved {
        /// The host, as the user gave it.
        host: String,
        /// The resolver's error.
        error: io::Error,
    },
    /// The system refuses to listen.
    #[error("{}", explain(host, *port, error))]
    Refused {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// The system's error.
        error: io::Error,
    },
}

/// Returns whether the error concerns the port at every address: the port is taken, or the user
/// lacks the permission for it. All other errors concern a single address.
fn is_of_port(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

/// Returns the reason for which the system does not let the task listen, and a remedy.
fn explain(host: &str, port: u16, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} of {host} is taken: another process listens there; end it, or choose another \
             port"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{host} is not an address of this machine: start this task on {host}, or name the address \
             to listen on with --bind"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission to listen on port {port} of {host}: ports below 1024 are usually kept for \
             the administrator; choose a higher one"
        ),
        _ => format!("cannot listen on port {port} of {host}: {error}"),
    }
}

/// The sockets on which a task listens; at least one. A host name may have several addresses, and
/// different peers may resolve it to different addresses.
#[derive(Debug)]
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Returns the addresses of all sockets.
    ///
    /// # Errors
    /// If the system cannot return an address.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.iter().map(TcpListener::local_addr).collect()
    }

    /// Duplicates the sockets. A connection may then be accepted through the original or the
    /// duplicate.
    ///
    /// # Errors
    /// If the system cannot duplicate a socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.iter().map(TcpListener::try_clone).collect::<io::Result<_>>().map(Self)
    }
}

impl From<TcpListener> for Listeners {
    fn from(socket: TcpListener) -> Self {
        Self(vec![socket])
    }
}

/// Accepts connections from several sockets in turn.
#[derive(Debug)]
pub(super) struct Acceptor {
    sockets: Vec<tokio::net::TcpListener>,
    /// The socket to poll first in the next call.
    first: AtomicUsize,
}

impl Acceptor {
    /// Registers the sockets with the runtime.
    ///
    /// # Errors
    /// If a socket cannot be registered.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub(super) fn new(listeners: Listeners) -> io::Result<Self> {
        let to_tokio = |socket: TcpListener| {
            // Tokio does not make the socket non-blocking itself. A blocking socket would block the
            // whole runtime.
            socket.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(socket)
        };
        let sockets = listeners.0.into_iter().map(to_tokio).collect::<io::Result<_>>()?;
        Ok(Self { sockets, first: AtomicUsize::new(0) })
    }

    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| {
            let (first, n) = (self.first.load(Ordering::Relaxed), self.sockets.len());
            for idx in (0..n).map(|offset| (first + offset) % n) {
                if let Poll::Ready(accepted) = self.sockets[idx].poll_accept(context) {
                    // The next call begins with the next socket. Otherwise a flood of connections
                    // at one address could keep callers of other addresses waiting.
                    self.first.store((idx + 1) % n, Ordering::Relaxed);
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Listens on a port at all addresses of this machine, including IPv6 addresses if the machine has
/// IPv6.
///
/// # Errors
/// If the port is taken, or if the user lacks the permission.
pub fn bind_everywhere(port: u16) -> Result<Listeners, BindError> {
    let mut listeners = match bind(&format!("[::]:{port}")) {
        Ok(listeners) => listeners,
        Err(BindError::Refused { host, port, error }) if is_of_port(&error) => {
            return Err(BindError::Refused { host, port, error });
        }
        // Any other error means that the kernel has no IPv6.
        Err(_) => return bind(&format!("0.0.0.0:{port}")),
    };
    // With net.ipv6.bindv6only = 1, IPv4 needs its own socket. By default, the IPv6 socket also
    // accepts IPv4. The second bind then fails, and its error is ignored.
    let addresses = listeners.addresses().unwrap_or_default();
    let port = addresses.first().map_or(port, SocketAddr::port);
    listeners.0.extend(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    Ok(listeners)
}

/// Listens on `host:port`, at every address of the host that belongs to this machine. If the port
/// is 0, the system chooses a free port.
///
/// # Errors
/// If the task cannot listen. The error text is one line with a remedy.
pub fn bind(address: &str) -> Result<Listeners, BindError> {
    let (host, port) =
        host_and_port(address).ok_or_else(|| BindError::Malformed(address.to_owned()))?;
    let unresolved = |error| BindError::Unresolved { host: host.to_owned(), error };
    // Duplicates are removed, because /etc/hosts may list an address twice, and the second bind
    // would fail.
    let addresses: BTreeSet<_> = (host, port).to_socket_addrs().map_err(unresolved)?.collect();
    bind_all(host, port, &addresses)
}

fn bind_all(
    host: &str,
    port: u16,
    addresses: &BTreeSet<SocketAddr>,
) -> Result<Listeners, BindError> {
    let refused = |error| BindError::Refused { host: host.to_owned(), port, error };
    let mut sockets = Vec::new();
    let mut failure = None;
    let mut chosen_port = port;
    for mut address in addresses.iter().copied() {
        // With port 0, the system chooses a port for the first socket only. All further sockets
        // take the same port, because a caller knows one port for all addresses.
        address.set_port(chosen_port);
        match TcpListener::bind(address) {
            Ok(socket) => {
                chosen_port = socket.local_addr().map_or(chosen_port, |address| address.port());
                sockets.push(socket);
            }
            // If the port is taken at one address, this task must not listen at any address.
            // Otherwise some callers would reach the other process. A missing permission concerns
            // every address, too.
            Err(error) if is_of_port(&error) => return Err(refused(error)),
            // The remaining addresses may still work. A name may stand for an IPv6 address while
            // IPv6 is switched off, or for an address of another machine.
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        _ if !sockets.is_empty() => Ok(Listeners(sockets)),
        Some(error) => Err(refused(error)),
        None => {
            let error = io::Error::other("the host has no address");
            Err(BindError::Unresolved { host: host.to_owned(), error })
        }
    }
}

/// Splits `host:port`. An IPv6 address must be in brackets. The result has no brackets.
pub(super) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if host.is_empty() || (bare.is_none() && host.contains(':')) {
        return None;
    }
    Some((bare.unwrap_or(host), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(address: &str) -> String {
        bind(address).expect_err(address).to_string()
    }

    #[test]
    fn taken_port_is_named_in_the_error() {
        let taken = bind("127.0.0.1:0").unwrap();
        let [address] = taken.addresses().unwrap()[..] else { panic!("expected one address") };
        assert_eq!(
            message(&address.to_string()),
            format!(
                "port {} of 127.0.0.1 is taken: another process listens there; end it, or choose \
                 another port",
                address.port()
            )
        );
    }

    #[test]
    fn error_for_an_address_of_another_machine_names_the_bind_flag() {
        assert_eq!(
            message("192.0.2.1:2222"),
            "192.0.2.1 is not an address of this machine: start this task on 192.0.2.1, or name \
             the address to listen on with --bind"
        );
    }

    #[test]
    fn unknown_host_is_named_in_the_error() {
        let message = message("no-such-host.invalid:2222");
        assert!(
            message.starts_with("the host name no-such-host.invalid cannot be resolved: "),
            "{message}"
        );
    }

    #[test]
    fn error_for_a_malformed_address_gives_an_example() {
        for address in ["", "localhost", "localhost:", ":2222", "localhost:99999", "::1:2222"] {
            assert_eq!(
                message(address),
                format!(
                    "\"{address}\" is not an address: write HOST:PORT, such as localhost:2222 or \
                     [::1]:2222"
                )
            );
        }
    }

    #[test]
    fn bind_takes_names_and_literals_of_both_address_families() {
        for address in ["localhost:0", "127.0.0.1:0", "0.0.0.0:0"] {
            let addresses = bind(address).expect(address).addresses().unwrap();
            assert!(addresses.iter().all(|address| address.port() != 0), "{addresses:?}");
        }
        // On a machine without IPv6, bind fails, but the error must not call the address malformed.
        if let Err(error) = bind("[::1]:0") {
            assert!(matches!(error, BindError::Refused { error, .. } if !is_of_port(&error)));
        }
    }

    fn addresses(texts: [&str; 2]) -> BTreeSet<SocketAddr> {
        texts.map(|address| SocketAddr::new(address.parse().unwrap(), 0)).into()
    }

    #[tokio::test]
    async fn name_with_two_addresses_gets_one_port_on_both() {
        let listeners = bind_all("nodea", 0, &addresses(["127.0.0.1", "127.0.0.2"])).unwrap();
        let bound = listeners.addresses().unwrap();
        let [first, second] = bound[..] else { panic!("expected two sockets, not {bound:?}") };
        assert_eq!(first.port(), second.port());
        let acceptor = Acceptor::new(listeners).unwrap();
        // The second address is called first, to show that the order of calls does not matter.
        for address in [second, first, second] {
            let (caller, accepted) = tokio::join!(TcpStream::connect(address), acceptor.accept());
            let (stream, peer) = accepted.unwrap();
            assert_eq!(peer, caller.unwrap().local_addr().unwrap());
            assert_eq!(stream.local_addr().unwrap(), address);
        }
    }

    #[tokio::test]
    async fn waiting_callers_of_one_address_do_not_delay_callers_of_another() {
        let listeners = bind_all("nodea", 0, &addresses(["127.0.0.1", "127.0.0.2"])).unwrap();
        let bound = listeners.addresses().unwrap();
        let acceptor = Acceptor::new(listeners).unwrap();
        let mut callers = Vec::new();
        for address in [bound[0], bound[0], bound[0], bound[1]] {
            callers.push(TcpStream::connect(address).await.unwrap());
        }
        let mut accepted = Vec::new();
        for _ in 0..2 {
            accepted.push(acceptor.accept().await.unwrap().0.local_addr().unwrap());
        }
        accepted.sort();
        assert_eq!(accepted, bound, "the first two accepted callers are of both addresses");
    }

    #[test]
    fn address_of_another_machine_is_skipped_if_the_name_also_has_a_local_one() {
        let bound = |texts| bind_all("nodea", 0, &addresses(texts)).unwrap().addresses().unwrap();
        let [address] = bound(["127.0.0.1", "192.0.2.1"])[..] else { panic!("one is local") };
        assert!(address.ip().is_loopback());
    }

    #[test]
    fn port_taken_at_one_of_two_addresses_counts_as_taken() {
        let taken = bind("127.0.0.2:0").unwrap();
        let port = taken.addresses().unwrap()[0].port();
        let error = bind_all("nodea", port, &addresses(["127.0.0.1", "127.0.0.2"])).unwrap_err();
        assert!(error.to_string().contains("is taken"), "{error}");
    }

    #[test]
    fn bind_everywhere_accepts_ipv4_and_reports_a_taken_port() {
        let listeners = bind_everywhere(0).unwrap();
        let port = listeners.addresses().unwrap()[0].port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(bind_everywhere(port).unwrap_err().to_string().contains("is taken"));
    }
}
