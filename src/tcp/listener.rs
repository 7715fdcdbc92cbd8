//! Listening: the port, with errors that say what to do.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};

use thiserror::Error;

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

/// Listens at a port of all addresses of this machine, those of IPv6 among them if it has any.
///
/// # Errors
/// If the port is taken, or not for this user.
pub fn bind_everywhere(port: u16) -> Result<TcpListener, BindError> {
    match bind(&format!("[::]:{port}")) {
        Ok(listener) => Ok(listener),
        Err(error @ (BindError::Taken { .. } | BindError::NotPermitted { .. })) => Err(error),
        // A kernel without IPv6.
        Err(_) => bind(&format!("0.0.0.0:{port}")),
    }
}

/// Listens at `host:port`; a port of 0 takes any that is free.
///
/// # Errors
/// In one line, what is wrong and what to do.
pub fn bind(address: &str) -> Result<TcpListener, BindError> {
    let (host, port) = parse(address).ok_or_else(|| BindError::Malformed(address.to_owned()))?;
    let unresolved = |error| BindError::Unresolved { host: host.to_owned(), error };

    let mut failure = None;
    for address in (host, port).to_socket_addrs().map_err(unresolved)? {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            // A name may have addresses that the machine has not (IPv6 switched off): try on.
            // But a port taken on one address is not free on the other: callers would meet both.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                failure.get_or_insert(error);
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let host = host.to_owned();
    Err(match failure {
        None => BindError::Unresolved { host, error: io::Error::other("it has no address") },
        Some(error) => match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken { host, port },
            io::ErrorKind::AddrNotAvailable => BindError::NotLocal { host },
            io::ErrorKind::PermissionDenied => BindError::NotPermitted { host, port },
            _ => BindError::Other { host, port, error },
        },
    })
}

/// Host and port; an IPv6 address has to be in brackets, which are taken off.
fn parse(address: &str) -> Option<(&str, u16)> {
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
        let taken = bind("localhost:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(
            message(&format!("{}", taken.local_addr().unwrap())),
            format!(
                "port {port} of {} is taken: another process listens there; end it, or choose \
                 another port",
                taken.local_addr().unwrap().ip()
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
            assert_ne!(bind(address).expect(address).local_addr().unwrap().port(), 0);
        }
        // A machine without IPv6 says so; it must not be called malformed.
        if let Err(error) = bind("[::1]:0") {
            assert!(matches!(error, BindError::NotLocal { .. } | BindError::Other { .. }));
        }
    }
}
