//! The method by which tasks authenticate each other: certificates, a shared secret, or none.
//!
//! This module knows only the paths of the files. The `net` crate reads the files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::document_path as path;
use super::keys::SecurityKeys;
use crate::config_error::{ConfigError, check_path};

/// The method that protects the links of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityConfig {
    /// Links are not protected: every process that reaches the port can claim to be any task.
    #[default]
    Open,
    /// Links use mutual TLS.
    Tls(TlsFiles),
    /// Links are protected by a secret that all tasks share. The value is the path of the file with
    /// the secret.
    Secret(#[serde(with = "path")] PathBuf),
}

/// The files of mutual TLS, in PEM format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// The certificate of this task, followed by any intermediate certificates.
    #[serde(with = "path")]
    pub cert: PathBuf,
    /// The private key of the certificate.
    #[serde(with = "path")]
    pub key: PathBuf,
    /// The CA that signed the certificates of all tasks.
    #[serde(with = "path")]
    pub ca: PathBuf,
}

impl SecurityConfig {
    /// Returns the configuration that these keys describe.
    ///
    /// # Errors
    /// Returns an error if only one or two of the three TLS files are given, if both a TLS file and
    /// a secret are given, or if a path is empty.
    pub fn resolve(keys: SecurityKeys) -> Result<Self, ConfigError> {
        let SecurityKeys { tls_cert, tls_key, tls_ca, secret_file } = keys;
        for (flag, path) in [
            ("--tls-cert", &tls_cert),
            ("--tls-key", &tls_key),
            ("--tls-ca", &tls_ca),
            ("--secret-file", &secret_file),
        ] {
            check_path(flag, path.as_deref())?;
        }
        match (tls_cert, tls_key, tls_ca, secret_file) {
            (None, None, None, None) => Ok(Self::Open),
            (None, None, None, Some(secret)) => Ok(Self::Secret(secret)),
            (Some(cert), Some(key), Some(ca), None) => Ok(Self::Tls(TlsFiles { cert, key, ca })),
            (_, _, _, Some(_)) => {
                let why = "--secret-file and TLS (--tls-cert, --tls-key, --tls-ca) exclude each \
                           other: leave one out";
                Err(ConfigError::Contradiction(why.to_owned()))
            }
            (cert, key, ca, None) => {
                let given = [("--tls-cert", cert), ("--tls-key", key), ("--tls-ca", ca)];
                let absent = given.iter().filter(|(_, path)| path.is_none());
                let absent: Vec<_> = absent.map(|(flag, _)| *flag).collect();
                Err(ConfigError::Contradiction(format!(
                    "TLS takes --tls-cert, --tls-key and --tls-ca together: also give {}, or give \
                     none of them",
                    absent.join(" and ")
                )))
            }
        }
    }
}

impl SecurityKeys {
    /// Drops the keys that contradict `stronger`: the secret if `stronger` has a TLS file, and the
    /// TLS files if `stronger` has a secret.
    pub(super) fn drop_contradictions(&mut self, stronger: &Self) {
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
    fn tls_needs_all_its_files_and_excludes_a_secret() {
        let tls = |name: &str| PathBuf::from(name);
        assert_eq!(SecurityConfig::resolve(keys("")), Ok(SecurityConfig::Open));
        assert_eq!(SecurityConfig::resolve(keys("s")), Ok(SecurityConfig::Secret("s".into())));
        let files = TlsFiles { cert: tls("cert"), key: tls("key"), ca: tls("ca") };
        assert_eq!(SecurityConfig::resolve(keys("cert key ca")), Ok(SecurityConfig::Tls(files)));
        let told = ["cert", "key ca", "cert key ca s", "cert s"]
            .map(|given| SecurityConfig::resolve(keys(given)).expect_err(given).to_string());
        insta::assert_snapshot!(told.join("\n"), @"
        TLS takes --tls-cert, --tls-key and --tls-ca together: also give --tls-key and --tls-ca, or give none of them
        TLS takes --tls-cert, --tls-key and --tls-ca together: also give --tls-cert, or give none of them
        --secret-file and TLS (--tls-cert, --tls-key, --tls-ca) exclude each other: leave one out
        --secret-file and TLS (--tls-cert, --tls-key, --tls-ca) exclude each other: leave one out
        ");
        let empty = SecurityKeys { secret_file: Some(PathBuf::new()), ..keys("") };
        assert!(SecurityConfig::resolve(empty).is_err());
    }

    #[test]
    fn flags_of_tls_or_a_secret_replace_the_other_in_the_file() {
        let mut file = keys("cert key ca");
        file.drop_contradictions(&keys("s"));
        assert_eq!(keys("s").or(file), keys("s"));
        let mut file = keys("s");
        file.drop_contradictions(&keys("cert key ca"));
        assert_eq!(keys("cert key ca").or(file), keys("cert key ca"));
        let mut file = keys("key ca");
        file.drop_contradictions(&keys("cert"));
        assert_eq!(keys("cert").or(file), keys("cert key ca"), "each task has a file in common");
    }
}
