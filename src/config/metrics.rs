//! Where a task tells its metrics: an address to listen at, whose port the system may choose.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};

use super::hosts::HostPort;
use crate::hosts_error::HostsError;

/// `host:port`; port 0 leaves the choice to the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsAddress {
    /// The host, with some port.
    host: HostPort,
    port: u16,
}

impl MetricsAddress {
    /// Host, without brackets, and port, as resolvers take them.
    #[must_use]
    pub fn to_lookup(&self) -> (String, u16) {
        (self.host.to_lookup().0, self.port)
    }

    /// The address of the task that is `n` behind the one of this address, of tasks on one machine;
    /// `None` if there is no such port.
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
    /// The addresses of `n` tasks from this one on, as `unisono top` takes them; `None` if their
    /// ports are of the system's choice.
    #[must_use]
    pub fn row(&self, n: u16) -> Option<String> {
        let last = self.behind(n.saturating_sub(1)).filter(|_| self.port > 0)?;
        Some(format!("{self}-{}", last.port))
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.to_string();
        let (host, _) = host.rsplit_once(':').expect("a port follows");
        write!(f, "{host}:{}", self.port)
    }
}

impl FromStr for MetricsAddress {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, HostsError> {
        if !text.contains(':') {
            let why = "write host:port, like 127.0.0.1:9100".to_owned();
            return Err(HostsError::Malformed { value: text.to_owned(), why });
        }
        match text.strip_suffix(":0") {
            // Any port will do to have the host parsed.
            Some(host) => {
                let host = format!("{host}:1").parse().map_err(|error| match error {
                    HostsError::Malformed { why, .. } => {
                        HostsError::Malformed { value: text.to_owned(), why }
                    }
                    other => other,
                })?;
                Ok(Self { host, port: 0 })
            }
            None => {
                let host: HostPort = text.parse()?;
                Ok(Self { port: host.port(), host })
            }
        }
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
    fn an_address_reads_as_it_prints_and_its_port_may_be_the_systems_choice() {
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
    fn tasks_of_one_machine_have_one_port_after_the_other() {
        let behind = |text: &str, n| parse(text).unwrap().behind(n).map(|next| next.to_string());
        assert_eq!(behind("127.0.0.1:9100", 3), Some("127.0.0.1:9103".to_owned()));
        assert_eq!(behind("127.0.0.1:0", 3), Some("127.0.0.1:0".to_owned()));
        assert_eq!(behind("127.0.0.1:65534", 2), None);
        let row = |text: &str| parse(text).unwrap().row(4);
        assert_eq!(row("[::1]:9100"), Some("[::1]:9100-9103".to_owned()));
        assert_eq!(row("127.0.0.1:0"), None);
    }
}
