//! Errors of files, as one line with the file, the place and a remedy.

use std::fmt::Display;
use std::path::Path;

use unisono_learn::data::DatasetError;

/// Returns the error for a file that cannot be used.
pub(crate) fn unfit(path: &Path, why: impl Display) -> DatasetError {
    DatasetError::Unfit(format!("{}: {why}", path.display()))
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DatasetError> {
    let read = std::fs::read(path);
    read.map_err(|error| unfit(path, format_args!("it cannot be read: {error}; check the path")))
}
