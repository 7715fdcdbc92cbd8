//! The way back from settings to a run: what a checkpoint or a ledger says is a configuration.

use clap::{Args, Command, FromArgMatches};

use super::RunConfig;
use super::keys::{HostKeys, RunKeys, SizeKeys};
use crate::config_error::ConfigError;
use unisono_core::protocol::Settings;
use unisono_core::train_config::ClusterSize;

/// Why settings are not those of a run.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A setting that there is not, or a value that it cannot have.
    #[error("the settings are not of this version: {0}")]
    Unknown(String),
    /// A setting that every run has is missing.
    #[error("the settings are not of this version: there is no {0}")]
    Missing(String),
    /// They contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Flags that give a run on this machine.
#[derive(Args)]
struct RunFlags {
    #[command(flatten)]
    run: RunKeys,
    #[command(flatten)]
    size: SizeKeys,
}

impl RunConfig {
    /// Returns the run that flags give, without a configuration file.
    ///
    /// # Errors
    /// If a flag is unknown, has a bad value or contradicts another one.
    pub fn from_flags(flags: impl IntoIterator<Item = String>) -> Result<Self, SettingsError> {
        let command = RunFlags::augment_args(Command::new("flags")).no_binary_name(true);
        let RunFlags { run, size } = parse(command, flags)?;
        Ok(Self::resolve(run, size.resolve(&HostKeys::default()))?)
    }

    /// The run that has these settings. What is no setting, such as where files are, is as if
    /// nothing had been given.
    ///
    /// # Errors
    /// If they are not all the settings of a run.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        let size =
            ClusterSize { n_ps: tasks(settings, "ps")?, n_workers: tasks(settings, "workers")? };
        // What `settings` writes where the data's own split is used; and what has no flag, where a
        // cluster is the list of its hosts.
        let is_flag = |(key, value): &(&str, &str)| {
            (*key, *value) != ("validation_size", "default") && !["ps", "workers"].contains(key)
        };
        let flags = settings.iter().filter(is_flag);
        let flags = flags.map(|(key, value)| format!("--{}={value}", key.replace('_', "-")));
        let command = RunKeys::augment_args(Command::new("settings")).no_binary_name(true);
        let run = Self::resolve(parse(command, flags)?, size)?;
        // A default that was filled in would be a number that the run did not have.
        let all = run.settings();
        let Some(key) = all.differences(settings).next().map(|difference| difference.key) else {
            return Ok(run);
        };
        let is_known = all.iter().any(|(known, _)| known == key);
        Err(if is_known {
            SettingsError::Missing(key.to_owned())
        } else {
            SettingsError::Unknown(format!("{key} is no setting"))
        })
    }
}

fn parse<T: FromArgMatches>(
    command: Command,
    flags: impl IntoIterator<Item = String>,
) -> Result<T, SettingsError> {
    command
        .disable_help_flag(true)
        .try_get_matches_from(flags)
        .and_then(|matches| T::from_arg_matches(&matches))
        .map_err(|error| SettingsError::Unknown(first_line(&error)))
}

fn tasks(settings: &Settings, key: &str) -> Result<u32, SettingsError> {
    let value = settings.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
    let value = value.ok_or_else(|| SettingsError::Missing(key.to_owned()))?;
    let count = value.parse().ok().filter(|count| (1..=ClusterSize::LARGEST).contains(count));
    count.ok_or_else(|| {
        let largest = ClusterSize::LARGEST;
        SettingsError::Unknown(format!("{key} is {value:?}, and not a number from 1 to {largest}"))
    })
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_core::train_config::{Optimizer, Order, Placement, Sync};

    #[test]
    fn settings_come_back_as_the_run_that_wrote_them() {
        let mut run = RunConfig::default();
        assert_eq!(RunConfig::from_settings(&run.settings()).unwrap(), run);
        run.train.hidden = Vec::new();
        run.train.optimizer = Optimizer::Momentum { momentum: 0.3, nesterov: true };
        run.train.moving_average_decay = Some(0.99);
        run.train.order = Order::Partitioned;
        run.placement = Placement::Even;
        run.n_ps = 500;
        run.sync = Sync { replicas_to_aggregate: 3, total_num_replicas: 7 };
        run.validation_size = Some(70);
        assert_eq!(RunConfig::from_settings(&run.settings()).unwrap(), run);
    }

    #[test]
    fn what_is_no_setting_or_none_of_a_run_is_told() {
        let all = RunConfig::default().settings();
        let without = |key: &str| {
            let rest = all.iter().filter(|(other, _)| *other != key);
            rest.fold(Settings::default(), |settings, (key, value)| settings.with(key, value))
        };
        let errors = [
            all.clone().with("news", 1),
            all.clone().with("help", 1),
            all.clone().with("logdir", "x"),
            without("ps").with("ps", "many"),
            without("momentum").with("momentum", 0.5),
            without("seed"),
            Settings::default(),
        ]
        .map(|settings| RunConfig::from_settings(&settings).unwrap_err().to_string())
        .join("\n");
        insta::assert_snapshot!(errors, @r#"
        the settings are not of this version: unexpected argument '--news' found
        the settings are not of this version: unexpected argument '--help' found
        the settings are not of this version: logdir is no setting
        the settings are not of this version: ps is "many", and not a number from 1 to 65536
        --momentum is a parameter of the momentum optimizer, but the optimizer is sgd: give --optimizer momentum, or leave --momentum out
        the settings are not of this version: there is no seed
        the settings are not of this version: there is no ps
        "#);
    }
}
