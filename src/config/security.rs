//! How tasks prove to each other who they are: certificates, a shared secret, or not at all.
//!
//! Only the paths; what is in the files is read in [`unisono_net::tcp::security`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::document::path;
use super::keys::SecurityKeys;
use crate::config_error::ConfigError;

/// How the links of a task are secured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityConfig {
    /// Not at all: whoever reaches the port may say that it is any task.
    #[default]
    Open,
    /// Mutual TLS.
    Tls(TlsFiles),
    /// A secret that all tasks share.
    Secret(#[serde(with = "path")] PathBuf),
}

/// The files of mutual TLS, each PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// This task's certificate, and any between it and the CA's.
    #[serde(with = "path")]
    pub cert: PathBuf,
    /// The certificate's private key.
    #[serde(with = "path")]
    pub key: PathBuf,
    /// The CA that has signed the certificates of all tasks.
    #[serde(with = "path")]
    pub ca: PathBuf,
}

impl SecurityConfig {
    /// What the keys give.
    ///
    /// # Errors
    /// If they are one or two of the three that go together, or two ways at once.
    pub fn resolve(keys: SecurityKeys) -> Result<Self, ConfigError> {
        let SecurityKeys { tls_cert, tls_key, tls_ca, secret_file } = keys;
        for (flag, path) in [
            ("--tls-cert", &tls_cert),
            ("--tls-key", &tls_key),
            ("--tls-ca", &tls_ca),
            ("--secret-file", &secret_file),
        ] {
            if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
                return Err(ConfigError::EmptyPath(flag));
            }
        }
        match (tls_cert, tls_key, tls_ca, secret_file) {
            (None, None, None, None) => Ok(Self::Open),
            (None, None, None, Some(secret)) => Ok(Self::Secret(secret)),
            (Some(cert), Some(key), Some(ca), None) => Ok(Self::Tls(TlsFiles { cert, key, ca })),
            (_, _, _, Some(_)) => Err(ConfigError::TlsAndSecret),
            (cert, key, ca, None) => {
                let given = [("--tls-cert", cert), ("--tls-key", key), ("--tls-ca", ca)];
                let absent = given.iter().filter(|(_, path)| path.is_none());
                let absent: Vec<_> = absent.map(|(flag, _)| *flag).collect();
                Err(ConfigError::PartOfTls(absent.join(" and ")))
            }
        }
    }
}

impl SecurityKeys {
    /// Forgets what belongs to another way than the one of `stronger`, if that names one.
    pub(super) fn keep_the_way_of(&mut self, stronger: &Self) {
        if stronger.secret_file.is_some() {
            (self.tls_cert, self.tls_key, self.tls_ca) = (None, None, None);
        }
        if stronger.tls_cert.is_some() || stronger.tls_key.is_some() || stronger.tls_ca.is_some() {
            self.secret_file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(given: &str) -> SecurityKeys {
        let mut keys = SecurityKeys::default();
        for word in given.split_whitespace() {
            let path = Some(PathBuf::from(word));
            match word {
                "cert" => keys.tls_cert = path,
                "key" => keys.tls_key = path,
                "ca" => keys.tls_ca = path,
                _ => keys.secret_file = path,
            }
        }
        keys
    }

    #[test]
    fn a_way_is_given_whole_or_not_at_all() {
        let tls = |name: &str| PathBuf::from(name);
        assert_eq!(SecurityConfig::resolve(keys("")), Ok(SecurityConfig::Open));
        assert_eq!(SecurityConfig::resolve(keys("s")), Ok(SecurityConfig::Secret("s".into())));
        let files = TlsFiles { cert: tls("cert"), key: tls("key"), ca: tls("ca") };
        assert_eq!(SecurityConfig::resolve(keys("cert key ca")), Ok(SecurityConfig::Tls(files)));
        let told = ["cert", "key ca", "cert key ca s", "cert s"]
            .map(|given| SecurityConfig::resolve(keys(given)).expect_err(given).to_string());
        insta::assert_snapshot!(told.join("\n"), @"
        TLS takes --tls-cert, --tls-key and --tls-ca together: give --tls-key and --tls-ca, too, or none of them
        TLS takes --tls-cert, --tls-key and --tls-ca together: give --tls-cert, too, or none of them
        --secret-file and TLS (--tls-cert, --tls-key, --tls-ca) exclude each other: leave one out
        --secret-file and TLS (--tls-cert, --tls-key, --tls-ca) exclude each other: leave one out
        ");
        let empty = SecurityKeys { secret_file: Some(PathBuf::new()), ..keys("") };
        assert!(SecurityConfig::resolve(empty).is_err());
    }

    #[test]
    fn a_flag_of_one_way_replaces_the_other_way_of_the_file() {
        let mut file = keys("cert key ca");
        file.keep_the_way_of(&keys("s"));
        assert_eq!(keys("s").or(file), keys("s"));
        let mut file = keys("s");
        file.keep_the_way_of(&keys("cert key ca"));
        assert_eq!(keys("cert key ca").or(file), keys("cert key ca"));
        let mut file = keys("key ca");
        file.keep_the_way_of(&keys("cert"));
        assert_eq!(keys("cert").or(file), keys("cert key ca"), "each task has a file in common");
    }
}
