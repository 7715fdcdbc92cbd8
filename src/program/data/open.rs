//! Opens the examples that a command works on.

use std::path::Path;
use unisono_config::RunConfig;
use unisono_learn::data::{Dataset, DatasetError, Source};

/// The data of a run: its folder, or else the built-in examples.
///
/// # Errors
/// If the files are not there, or not what they should be.
pub(in crate::program) fn open(run: &RunConfig) -> Result<Dataset, DatasetError> {
    open_at(run.data_dir.as_deref(), run.validation_size)
}

/// The data of a folder, or else the built-in examples.
///
/// # Errors
/// As [`open`].
pub(in crate::program) fn open_at(
    data_dir: Option<&Path>,
    validation_size: Option<usize>,
) -> Result<Dataset, DatasetError> {
    let source = data_dir.map_or(Source::Embedded, |dir| Source::Directory(dir.to_owned()));
    Dataset::open(&source, validation_size)
}
