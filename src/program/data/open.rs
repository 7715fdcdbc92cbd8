//! Opens the data of a command.

use std::path::Path;
use unisono_config::RunConfig;
use unisono_learn::data::{Dataset, DatasetError, Source};

/// Opens the data of a run: those in its folder, else the built-in examples.
///
/// # Errors
/// If a file is missing or malformed.
pub(in crate::program) fn open(run: &RunConfig) -> Result<Dataset, DatasetError> {
    open_at(run.data_dir.as_deref(), run.validation_size)
}

/// Opens the data of a folder, else the built-in examples.
///
/// # Errors
/// If a file is missing or malformed.
pub(in crate::program) fn open_at(
    data_dir: Option<&Path>,
    validation_size: Option<usize>,
) -> Result<Dataset, DatasetError> {
    let source = data_dir.map_or(Source::Embedded, |dir| Source::Directory(dir.to_owned()));
    Dataset::open(&source, validation_size)
}
