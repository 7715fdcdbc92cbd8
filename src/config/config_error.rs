//! The errors of settings that contradict each other.

use std::path::Path;

use crate::hosts_error::HostsError;

/// The error for settings that contradict each other, although each setting is valid by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The hosts do not make a cluster.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// A given parameter does not belong to the chosen optimizer.
    #[error(
        "{parameter} is a parameter of the {theirs} optimizer, but the optimizer is {ours}: give \
         --optimizer {theirs}, or leave {parameter} out"
    )]
    ForeignParameter {
        /// The flag of the parameter.
        parameter: &'static str,
        /// The name of the optimizer that has the parameter.
        theirs: String,
        /// The name of the chosen optimizer.
        ours: String,
    },
    /// Settings exclude each other, or a given path is empty. The text contains the reason and a
    /// remedy.
    #[error("{0}")]
    Contradiction(String),
}

/// Returns an error if the path of a flag is given, but empty.
pub(crate) fn check_path(flag: &str, path: Option<&Path>) -> Result<(), ConfigError> {
    match path {
        Some(path) if path.as_os_str().is_empty() => Err(ConfigError::Contradiction(format!(
            "{flag} is empty: give a path, or leave it out"
        ))),
        _ => Ok(()),
    }
}
