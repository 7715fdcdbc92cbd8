//! A host of a cluster: a name, an IPv4 address or an IPv6 address. This module does not resolve
//! names.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::hosts_error::HostsError;

/// The part of a [`HostPort`](super::hosts::HostPort) before the port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A host name in lower case, which is resolved at each connection attempt.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, which is written in brackets if a port follows.
    V6(Ipv6Addr),
    /// A link-local IPv6 address, and the network interface of this machine that reaches the
    /// address, such as `fe80::1%eth0`. Each machine names its own interfaces, so the host lists of
    /// two tasks may contain the same address with different interfaces.
    LinkLocal(Ipv6Addr, Zone),
}

impl Host {
    /// Returns whether the host is a loopback address, or a name that is reserved for the loopback
    /// interface. Other machines cannot reach such a host.
    #[must_use]
    pub fn is_loopback_by_name(&self) -> bool {
        match self {
            // RFC 6761 reserves `localhost` and the names below it for the loopback interface.
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::V4(address) => address.is_loopback(),
            Self::V6(address) => address.is_loopback(),
            Self::LinkLocal(..) => false,
        }
    }
}

impl fmt::Display for Host {
    /// Writes the host without brackets, as resolvers expect hosts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(address) => write!(f, "{address}"),
            Self::LinkLocal(address, Zone(zone)) => write!(f, "{address}%{zone}"),
        }
    }
}

/// The name or the number of a network interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Zone(String);

impl Zone {
    /// Linux limits the names of interfaces to 15 bytes.
    const LONGEST: usize = 15;

    fn parse(text: &str) -> Option<Self> {
        let in_names = |byte: u8| byte.is_ascii_graphic() && !b"[]%/:,\"'".contains(&byte);
        let is_name = !text.is_empty() && text.len() <= Self::LONGEST;
        (is_name && text.bytes().all(in_names)).then(|| Self(text.to_owned()))
    }
}

impl FromStr for Host {
    type Err = HostsError;

    /// Reads a name or an IPv4 address.
    fn from_str(text: &str) -> Result<Self, HostsError> {
        let wrong =
            |why: &str| HostsError::Malformed { value: text.to_owned(), why: why.to_owned() };
        parse_host(text).map_err(wrong)
    }
}

/// Reads an IPv6 address from the text between the brackets.
pub(super) fn parse_ipv6(text: &str) -> Result<Host, &'static str> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let address: Ipv6Addr =
        address.parse().map_err(|_| "there is no IPv6 address between the brackets")?;
    match (address.is_unicast_link_local(), zone) {
        (true, Some(zone)) => Zone::parse(zone)
            .map(|zone| Host::LinkLocal(address, zone))
            .ok_or("write an interface of this machine after %, like [fe80::1%eth0]:20000"),
        // The system refuses to connect or listen without the interface.
        (true, None) => Err("a link-local address needs the interface that leads to it, like \
                             [fe80::1%eth0]:20000; `ip -6 address` lists the interfaces"),
        (false, Some(_)) => {
            Err("only link-local addresses (fe80::…) have an interface: leave out % \
                                 and the text after it")
        }
        (false, None) => Ok(Host::V6(address)),
    }
}

/// Returns the IPv4 address if the system's resolver would read a name without a dot as an IPv4
/// address. The resolver first calls `inet_aton`, which reads a single number (decimal, octal or
/// hexadecimal) as all 32 bits of an address.
fn read_as_ipv4(name: &str) -> Option<Ipv4Addr> {
    let hexadecimal = name.strip_prefix("0x").or_else(|| name.strip_prefix("0X"));
    let octal = name.strip_prefix('0').filter(|digits| !digits.is_empty());
    let (digits, radix) = match (hexadecimal, octal) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) => (digits, 8),
        (None, None) => (name, 10),
    };
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(digits, radix).ok().filter(|_| all_digits).map(Ipv4Addr::from)
}

pub(super) fn parse_host(text: &str) -> Result<Host, &'static str> {
    const LONGEST_NAME: usize = 253; // RFC 1035
    if text.is_empty() {
        return Err("the host is missing; write host:port, like localhost:20000");
    }
    if text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return text.parse().map(Host::V4).map_err(|_| "this is not an IPv4 address");
    }
    let in_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !text.bytes().all(in_names) || text.len() > LONGEST_NAME {
        return Err("a host name is made of letters, digits, dots and dashes");
    }
    if read_as_ipv4(text).is_some() {
        return Err(
            "the system takes this number for an IPv4 address and does not look up a name: give \
                    the full name, like 1001.example.org, or the address of the host",
        );
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostPort;

    #[test]
    fn number_is_a_host_name_unless_the_resolver_reads_it_as_an_address() {
        // Both lists were measured with glibc's getaddrinfo and with each name in /etc/hosts. For
        // the names of the first loop, getaddrinfo returned the entries of /etc/hosts. For the
        // names of the second loop, getaddrinfo returned 0.0.3.233, 0.0.0.15, 0.0.0.17 and
        // 255.255.255.255.
        for name in ["123456789012", "4294967296", "0018", "0x1g"] {
            let host: HostPort = format!("{name}:2222").parse().expect(name);
            assert_eq!(host.host(), &Host::Name(name.to_owned()));
        }
        for number in ["1001", "0017", "0x11", "4294967295"] {
            let told = number.parse::<Host>().expect_err(number).to_string();
            assert!(told.contains("full name") && told.contains("or the address"), "{told}");
        }
    }

    #[test]
    fn loopback_hosts_are_recognised_by_their_text() {
        let is_loopback =
            |text: &str| text.parse::<HostPort>().expect(text).host().is_loopback_by_name();
        for text in ["localhost:1", "a.localhost:1", "127.0.1.1:1", "[::1]:1"] {
            assert!(is_loopback(text), "{text}");
        }
        for text in ["nodea:1", "mylocalhost:1", "0.0.0.0:1", "[fe80::1%lo]:1", "[::]:1"] {
            assert!(!is_loopback(text), "{text}");
        }
    }
}
