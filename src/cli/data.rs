//! The examples that a command works on.

use std::path::Path;

use crate::config::RunConfig;
use crate::data::{Dataset, DatasetError, Source};

/// The data of a run: its folder, or else the built-in examples.
///
/// # Errors
/// If the files are not there, or not what they should be.
pub(super) fn open(run: &RunConfig) -> Result<Dataset, DatasetError> {
    open_at(run.data_dir.as_deref(), run.validation_size)
}

/// The data of a folder, or else the built-in examples.
///
/// # Errors
/// As [`open`].
pub(super) fn open_at(
    data_dir: Option<&Path>,
    validation_size: Option<usize>,
) -> Result<Dataset, DatasetError> {
    let source = data_dir.map_or(Source::Embedded, |dir| Source::Directory(dir.to_owned()));
    Dataset::open(&source, validation_size)
}
