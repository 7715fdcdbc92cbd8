//! Listening: the sockets of a port, with errors that say what to do.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use thiserror::Error;
use tokio::net::TcpStream;

/// Why a task cannot listen at an address.
#[derive(Debug, Error)]
pub enum BindError {
    /// Not of the form host:port.
    #[error("\"{0}\" is not an address: write HOST:PORT, such as localhost:2222 or [::1]:2222")]
    Malformed(String),
    /// No such host.
    #[error(
        "the host name {host} cannot be resolved: {error}; check its spelling, or give its address"
    )]
    Unresolved {
        /// The host.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// Somebody listens there.
    #[error(
        "port {port} of {host} is taken: another process listens there; end it, or choose another \
         port"
    )]
    Taken {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host is another machine.
    #[error(
        "{host} is not an address of this machine: start this task on {host}, or name the address \
         to listen on with --bind"
    )]
    NotLocal {
        /// The host.
        host: String,
    },
    /// The system does not let this user.
    #[error(
        "no permission to listen on port {port} of {host}: ports below 1024 are usually kept for \
         the administrator; choose a higher one"
    )]
    NotPermitted {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// Anything else.
    #[error("cannot listen on port {port} of {host}: {error}")]
    Other {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        error: io::Error,
    },
}

/// The sockets on which a task listens, at least one: a name may have several addresses, and peers
/// on other machines may know any of them.
#[derive(Debug)]
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// The addresses of all sockets.
    ///
    /// # Errors
    /// If the system cannot tell an address.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.iter().map(TcpListener::local_addr).collect()
    }

    /// Copies of the sockets: a connection waits until either set accepts it.
    ///
    /// # Errors
    /// If the system cannot copy a socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.iter().map(TcpListener::try_clone).collect::<io::Result<_>>().map(Self)
    }
}

impl From<TcpListener> for Listeners {
    fn from(socket: TcpListener) -> Self {
        Self(vec![socket])
    }
}

/// Accepts from several sockets in turn, so that a flood at one address does not starve the others.
#[derive(Debug)]
pub(super) struct Acceptor {
    sockets: Vec<tokio::net::TcpListener>,
    /// The socket to ask first.
    first: AtomicUsize,
}

impl Acceptor {
    /// # Errors
    /// If a socket cannot be used from a runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new(listeners: Listeners) -> io::Result<Self> {
        let to_tokio = |socket: TcpListener| {
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
                    self.first.store((idx + 1) % n, Ordering::Relaxed);
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Listens at a port of all addresses of this machine, those of IPv6 among them if it has any.
///
/// # Errors
/// If the port is taken, or not for this user.
pub fn bind_everywhere(port: u16) -> Result<Listeners, BindError> {
    let mut listeners = match bind(&format!("[::]:{port}")) {
        Ok(listeners) => listeners,
        Err(error @ (BindError::Taken { .. } | BindError::NotPermitted { .. })) => {
            return Err(error);
        }
        // A kernel without IPv6.
        Err(_) => return bind(&format!("0.0.0.0:{port}")),
    };
    // Where the system keeps IPv6 sockets to IPv6 (net.ipv6.bindv6only), IPv4 needs a socket of its
    // own. Elsewhere the first socket takes IPv4 as well, and this one fails because of it.
    let addresses = listeners.addresses().unwrap_or_default();
    let port = addresses.first().map_or(port, SocketAddr::port);
    listeners.0.extend(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    Ok(listeners)
}

/// Listens at `host:port`, on all addresses of the host that this machine has; a port of 0 takes any
/// that is free.
///
/// # Errors
/// In one line, what is wrong and what to do.
pub fn bind(address: &str) -> Result<Listeners, BindError> {
    let (host, port) =
        host_and_port(address).ok_or_else(|| BindError::Malformed(address.to_owned()))?;
    let unresolved = |error| BindError::Unresolved { host: host.to_owned(), error };
    // The hosts file may have one address twice, in two lines.
    let addresses: BTreeSet<_> = (host, port).to_socket_addrs().map_err(unresolved)?.collect();
    bind_all(host, port, &addresses)
}

fn bind_all(
    host: &str,
    port: u16,
    addresses: &BTreeSet<SocketAddr>,
) -> Result<Listeners, BindError> {
    let mut sockets = Vec::new();
    let mut failure = None;
    let mut chosen_port = port;
    for mut address in addresses.iter().copied() {
        // The system chooses a port for the first socket alone: callers know one port.
        address.set_port(chosen_port);
        match TcpListener::bind(address) {
            Ok(socket) => {
                chosen_port = socket.local_addr().map_or(chosen_port, |address| address.port());
                sockets.push(socket);
            }
            // A port that is taken at one address is not free at the other: callers would meet both
            // processes. Neither kind of error is peculiar to the address.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
                ) =>
            {
                return Err(BindError::new(host, port, error));
            }
            // A name may have addresses that the machine has not, such as those of IPv6 where it is
            // switched off, or those of a second machine.
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        _ if !sockets.is_empty() => Ok(Listeners(sockets)),
        Some(error) => Err(BindError::new(host, port, error)),
        None => {
            let error = io::Error::other("it has no address");
            Err(BindError::Unresolved { host: host.to_owned(), error })
        }
    }
}

impl BindError {
    fn new(host: &str, port: u16, error: io::Error) -> Self {
        let host = host.to_owned();
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { host, port },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { host },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { host, port },
            _ => Self::Other { host, port, error },
        }
    }
}

/// Host and port; an IPv6 address has to be in brackets, which are taken off.
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
    fn a_taken_port_is_named() {
        let taken = bind("127.0.0.1:0").unwrap();
        let [address] = taken.addresses().unwrap()[..] else { panic!("it has one address") };
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
    fn an_address_of_another_machine_points_to_the_bind_flag() {
        assert_eq!(
            message("192.0.2.1:2222"),
            "192.0.2.1 is not an address of this machine: start this task on 192.0.2.1, or name \
             the address to listen on with --bind"
        );
    }

    #[test]
    fn a_host_that_does_not_exist_is_named() {
        let message = message("no-such-host.invalid:2222");
        assert!(
            message.starts_with("the host name no-such-host.invalid cannot be resolved: "),
            "{message}"
        );
    }

    #[test]
    fn what_is_not_an_address_is_answered_with_an_example() {
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
    fn names_and_literals_of_both_families_can_be_listened_on() {
        for address in ["localhost:0", "127.0.0.1:0", "0.0.0.0:0"] {
            let addresses = bind(address).expect(address).addresses().unwrap();
            assert!(addresses.iter().all(|address| address.port() != 0), "{addresses:?}");
        }
        // A machine without IPv6 says so; it must not be called malformed.
        if let Err(error) = bind("[::1]:0") {
            assert!(matches!(error, BindError::NotLocal { .. } | BindError::Other { .. }));
        }
    }

    fn addresses(of: [&str; 2]) -> BTreeSet<SocketAddr> {
        of.map(|address| SocketAddr::new(address.parse().unwrap(), 0)).into()
    }

    #[tokio::test]
    async fn name_with_two_addresses_is_listened_on_at_both_with_one_port() {
        let listeners = bind_all("nodea", 0, &addresses(["127.0.0.1", "127.0.0.2"])).unwrap();
        let bound = listeners.addresses().unwrap();
        let [first, second] = bound[..] else { panic!("two sockets, not {bound:?}") };
        assert_eq!(first.port(), second.port());
        let acceptor = Acceptor::new(listeners).unwrap();
        // The second one twice, so that the first one is not needed for it.
        for address in [second, first, second] {
            let (caller, accepted) = tokio::join!(TcpStream::connect(address), acceptor.accept());
            let (stream, peer) = accepted.unwrap();
            assert_eq!(peer, caller.unwrap().local_addr().unwrap());
            assert_eq!(stream.local_addr().unwrap(), address);
        }
    }

    #[tokio::test]
    async fn callers_of_both_addresses_are_accepted_in_turn() {
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
        assert_eq!(accepted, bound, "three waiting callers of one address hold up another one");
    }

    #[test]
    fn address_of_another_machine_beside_an_own_one_is_left_out() {
        let bound = |of| bind_all("nodea", 0, &addresses(of)).unwrap().addresses().unwrap();
        let [address] = bound(["127.0.0.1", "192.0.2.1"])[..] else { panic!("one is ours") };
        assert!(address.ip().is_loopback());
    }

    #[test]
    fn port_taken_at_one_of_two_addresses_is_taken() {
        let taken = bind("127.0.0.2:0").unwrap();
        let port = taken.addresses().unwrap()[0].port();
        let error = bind_all("nodea", port, &addresses(["127.0.0.1", "127.0.0.2"])).unwrap_err();
        assert!(matches!(error, BindError::Taken { .. }), "{error}");
    }

    #[test]
    fn listening_everywhere_takes_ipv4_and_its_port_is_taken() {
        let listeners = bind_everywhere(0).unwrap();
        let port = listeners.addresses().unwrap()[0].port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(matches!(bind_everywhere(port), Err(BindError::Taken { .. })));
    }
}
