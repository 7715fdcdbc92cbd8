//! The settings of a workload that is not built in: the name of its model, and the values of its
//! own flags.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The settings of a workload that is not built in. They determine losses, so tasks compare them,
/// and checkpoints and ledgers record them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnSettings {
    /// The name of the model; `None` for the built-in models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The value of each own flag as text, by the key of the flag, which has underscores.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// A flag of a workload. In a configuration file, the flag is a key of the section `[model]`.
#[derive(Clone)]
pub struct OwnFlag {
    key: String,
    default: String,
    help: String,
    /// Returns the only text of a value; or the reason why a text is not a value.
    canonical: fn(&str) -> Result<String, String>,
}

impl OwnFlag {
    /// Declares a flag whose values are of the type `T`. The text of a value must read back as the
    /// same value.
    ///
    /// # Panics
    /// Panics if the key is not made of lower-case letters, digits and underscores.
    #[must_use]
    pub fn new<T: FromStr<Err: Display> + Display>(key: &str, default: &T, help: &str) -> Self {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            key.starts_with(|c: char| c.is_ascii_lowercase()) && key.chars().all(is_plain),
            "the key of a flag has lower-case letters, digits and underscores, unlike {key:?}"
        );
        let (key, default, help) = (key.to_owned(), default.to_string(), help.to_owned());
        let canonical = |text: &str| match text.trim().parse::<T>() {
            Ok(value) => Ok(value.to_string()),
            Err(error) => Err(error.to_string()),
        };
        Self { key, default, help, canonical }
    }

    /// Returns the key of the flag in files and settings.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the text of the default.
    #[must_use]
    pub fn default_text(&self) -> &str {
        &self.default
    }

    /// Returns the text for `--help`, without the default.
    #[must_use]
    pub fn help(&self) -> &str {
        &self.help
    }

    /// Returns the only text of the value that `text` stands for. Tasks compare texts, so each value
    /// has exactly one text.
    ///
    /// # Errors
    /// The reason, if `text` is not a value of the flag's type.
    pub fn canonical(&self, text: &str) -> Result<String, String> {
        (self.canonical)(text)
    }
}

impl fmt::Debug for OwnFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnFlag").field("key", &self.key).finish_non_exhaustive()
    }
}
