//! What a run is made of, as types that cannot be wrong.
//!
//! [`keys`] has every flag and file key once, with its one text; [`mod@file`] reads the TOML file;
//! [`run`] puts flags, file and defaults together; [`tf_config`] and [`slurm`] read what an engine
//! tells a task, out of an [`environment`]. Nothing here opens a socket or reads data.

pub mod config_error;
mod document;
pub mod environment;
pub mod file;
mod host;
pub mod hosts;
pub mod hosts_error;
pub mod keys;
pub mod metrics;
#[cfg(test)]
mod reference_table;
pub mod run;
pub mod security;
mod settings;
pub mod slurm;
pub mod tf_config;
pub mod values;

pub use self::hosts::{ClusterSpec, Host, HostPort};
pub use self::run::RunConfig;
pub use crate::config_error::ConfigError;
pub use crate::hosts_error::HostsError;
pub use document::RunDocument;
pub use environment::Environment;
pub use file::{FileError, FileKeys};
pub use metrics::MetricsAddress;
pub use security::{SecurityConfig, TlsFiles};
pub use settings::SettingsError;
pub use unisono_core::train_config::ClusterSize;
pub use values::{LogFormat, ProgressMode};
