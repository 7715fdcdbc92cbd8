//! The address at which a task serves its metrics. The operating system may choose the port.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

use super::hosts::{Host, HostPort};
use crate::hosts_error::HostsError;

/// An address `host:port`. If the port is 0, the operating system chooses a free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsAddress {
    host: Host,
    port: u16,
}

impl MetricsAddress {
    /// Returns the host without brackets, as resolvers expect hosts, and the port.
    #[must_use]
    pub fn to_lookup(&self) -> (String, u16) {
        (self.host.to_string(), self.port)
    }

    /// Returns the address of another task on the same machine, whose port is larger by `n`. Port 0
    /// stays 0. Returns `None` if the port would exceed 65535.
    #[must_use]
    pub fn behind(&self, n: u16) -> Option<Self> {
        let port = match self.port {
            0 => 0,
            port => port.checked_add(n)?,
        };
        Some(Self { port, ..self.clone() })
    }
}

impl MetricsAddress {
    /// Returns the address with a range of `n` consecutive ports, such as `localhost:9100-9103`, as
    /// text for `unisono top`. Returns `None` if the operating system chooses the ports, or if a
    /// port would exceed 65535.
    #[must_use]
    pub fn row(&self, n: u16) -> Option<String> {
        let last = self.behind(n.saturating_sub(1)).filter(|_| self.port > 0)?;
        Some(format!("{self}-{}", last.port))
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A `HostPort` writes brackets around a host that needs brackets, but cannot have port 0.
        // So the host is written with port 1, and port 1 is then replaced.
        let address = HostPort::new(self.host.clone(), 1).to_string();
        let (host, _) = address.rsplit_once(':').expect("a port follows");
        write!(f, "{host}:{}", self.port)
    }
}

impl FromStr for MetricsAddress {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, HostsError> {
        let malformed = |why| HostsError::Malformed { value: text.to_owned(), why };
        if !text.contains(':') {
            return Err(malformed("write host:port, like 127.0.0.1:9100".to_owned()));
        }
        // A `HostPort` cannot have port 0, so the host is parsed with port 1 instead.
        let any_port = text.strip_suffix(":0").map(|host| format!("{host}:1"));
        let address: Result<HostPort, _> = any_port.as_deref().unwrap_or(text).parse();
        let address = address.map_err(|error| match error {
            HostsError::Malformed { why, .. } => malformed(why),
            other => other,
        })?;
        let port = if any_port.is_some() { 0 } else { address.port() };
        Ok(Self { host: address.host().clone(), port })
    }
}

impl Serialize for MetricsAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MetricsAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MetricsAddress, String> {
        text.parse().map_err(|error: HostsError| error.to_string())
    }

    #[test]
    fn address_is_printed_as_it_was_read_and_its_port_may_be_0() {
        for text in ["127.0.0.1:9100", "localhost:0", "[::1]:9100", "[::]:0"] {
            assert_eq!(parse(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(parse("[::1]:0").unwrap().to_lookup(), ("::1".to_owned(), 0));
        for wrong in ["", "9100", ":0", "a:65536", "::1:0", "a b:0"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("a b:0").unwrap_err().contains("a b:0"));
    }

    #[test]
    fn tasks_of_one_machine_have_consecutive_ports() {
        let behind = |text: &str, n| parse(text).unwrap().behind(n).map(|next| next.to_string());
        assert_eq!(behind("127.0.0.1:9100", 3), Some("127.0.0.1:9103".to_owned()));
        assert_eq!(behind("127.0.0.1:0", 3), Some("127.0.0.1:0".to_owned()));
        assert_eq!(behind("127.0.0.1:65534", 2), None);
        let row = |text: &str| parse(text).unwrap().row(4);
        assert_eq!(row("[::1]:9100"), Some("[::1]:9100-9103".to_owned()));
        assert_eq!(row("127.0.0.1:0"), None);
    }
}
