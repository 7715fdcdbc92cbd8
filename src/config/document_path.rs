//! Writes and reads paths in a `RunDocument`. A field of type `PathBuf` names this module in
//! `#[serde(with)]`. A field of type `Option<PathBuf>` also needs `#[serde(default)]`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path in a `RunDocument`: text if the path is UTF-8, otherwise bytes. A TOML string must be
/// UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum PathText {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&PathBuf> for PathText {
    fn from(path: &PathBuf) -> Self {
        let bytes = || Self::Bytes(path.as_os_str().as_bytes().to_vec());
        path.to_str().map_or_else(bytes, |text| Self::Text(text.to_owned()))
    }
}

impl From<PathText> for PathBuf {
    fn from(text: PathText) -> Self {
        match text {
            PathText::Text(text) => text.into(),
            PathText::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}

impl From<PathText> for Option<PathBuf> {
    fn from(text: PathText) -> Self {
        Some(text.into())
    }
}

pub(crate) fn serialize<'a, P, S: Serializer>(path: &'a P, s: S) -> Result<S::Ok, S::Error>
where
    Option<&'a PathBuf>: From<&'a P>,
{
    Option::from(path).map(PathText::from).serialize(s)
}

pub(crate) fn deserialize<'de, P, D>(deserializer: D) -> Result<P, D::Error>
where
    P: From<PathText>,
    D: Deserializer<'de>,
{
    PathText::deserialize(deserializer).map(P::from)
}
