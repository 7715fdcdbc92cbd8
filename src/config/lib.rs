//! The configuration of a run, as types whose values are always valid.
//!
//! [`keys`] declares every flag and file key with its help. [`mod@file`] reads the TOML file.
//! [`run`] combines flags, file and defaults. [`tf_config`] and [`slurm`] determine the task of a
//! process from the [`environment`] that a cluster manager such as Kubeflow or Slurm sets. A
//! launcher passes a [`RunDocument`] to its tasks. Tasks compare their [`RunConfig::settings`] when
//! they connect. This crate opens no socket and reads no data.

pub mod config_error;
mod document;
mod document_path;
pub mod environment;
pub mod file;
mod host;
pub mod hosts;
pub mod hosts_error;
pub mod keys;
pub mod layers;
mod metrics;
mod own;
#[cfg(test)]
#[path = "../../tests/unit/reference_table.rs"]
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
pub use own::{OwnFlag, OwnSettings};
pub use security::{SecurityConfig, TlsFiles};
pub use settings::SettingsError;
pub use unisono_core::train_config::ClusterSize;
pub use values::{LogFormat, ProgressMode};
