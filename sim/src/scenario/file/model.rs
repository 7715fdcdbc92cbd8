//! `[model]`, the flags of a workload that is not built in. The workload checks the values when the
//! scenario is played.

use toml::de::{DeTable, DeValue};
use unisono_config::OwnSettings;
use unisono_config::file::{Wrong, own_text};

use crate::scenario::keys::Lines;
use crate::scenario::keys::lines::quoted;

/// The name of the section.
pub(super) const NAME: &str = "model";

pub(super) fn read(file: &DeTable<'_>) -> Result<OwnSettings, Wrong> {
    let Some(value) = file.get(NAME) else { return Ok(OwnSettings::default()) };
    let DeValue::Table(table) = value.get_ref() else {
        let what = "model is a table: write [model]".to_owned();
        return Err(Wrong { at: value.span().start, what });
    };
    let text = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, _)| {
        let key = key.get_ref().to_string();
        own_text(&key, value).map(|text| (key, text))
    };
    let values = table.iter().map(text).collect::<Result<_, _>>()?;
    Ok(OwnSettings { model: None, values })
}

pub(super) fn write(file: &mut Lines, own: &OwnSettings) {
    let mut lines = Lines::default();
    own.values.iter().for_each(|(key, text)| lines.put(key, quoted(text)));
    file.section("[model]", lines);
}
