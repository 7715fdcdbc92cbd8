//! Reads `[train]` with the code that reads production files. A scenario has other default values
//! for some keys.

use toml::de::{DeTable, DeValue};
use unisono_config::RunConfig;
use unisono_config::config_error::ConfigError;
use unisono_config::file::{KnownSection, Wrong};
use unisono_config::keys::{RunKeys, TrainKeys};
use unisono_core::train_config::{ClusterSize, TrainConfig};

use crate::scenario::small_run;

/// The name of the section.
pub(super) const NAME: &str = "train";

pub(super) fn read(file: &DeTable<'_>) -> Result<TrainConfig, Wrong> {
    let default = small_run().train;
    let Some(value) = file.get(NAME) else { return Ok(default) };
    let at = value.span().start;
    let DeValue::Table(table) = value.get_ref() else {
        return Err(Wrong { at, what: "train is a table: write [train]".to_owned() });
    };
    let keys: TrainKeys = KnownSection::train().read(value.span(), table)?;
    let has_model = keys.hidden.is_some() || keys.model.is_some() || keys.layers.is_some();
    let given = (has_model, keys.batch_size.is_some(), keys.training_steps.is_some());
    let mut train = resolve(keys).map_err(|error| foreign_parameter(table, at, &error))?;
    train.hidden = if given.0 { train.hidden } else { default.hidden };
    train.batch_size = if given.1 { train.batch_size } else { default.batch_size };
    train.training_steps = if given.2 { train.training_steps } else { default.training_steps };
    Ok(train)
}

pub(super) fn resolve(keys: TrainKeys) -> Result<TrainConfig, ConfigError> {
    let keys = RunKeys { train: keys, ..RunKeys::default() };
    // The size is only compared with settings outside `[train]`, so any size will do here.
    let size = ClusterSize { n_ps: 1, n_workers: 1 };
    Ok(RunConfig::resolve(keys, size)?.train)
}

/// Rewrites an error message of the production code. The original message names command-line flags
/// instead of keys.
fn foreign_parameter(table: &DeTable<'_>, at: usize, error: &ConfigError) -> Wrong {
    let ConfigError::ForeignParameter { parameter, theirs, ours } = error else {
        let described = ["layers", "model", "input"].into_iter().find_map(|key| table.get(key));
        let at = described.map_or(at, |value| value.span().start);
        return Wrong { at, what: error.to_string().replace("--", "") };
    };
    let key = parameter.trim_start_matches('-');
    let at = table.get(key).map_or(at, |value| value.span().start);
    let what = format!(
        "{key} is a parameter of the {theirs} optimizer, but the optimizer is {ours}: write \
         optimizer = \"{theirs}\", or leave {key} out"
    );
    Wrong { at, what }
}
