//! Data sets in all formats that the program reads: IDX, arrays, tables and CIFAR-10.
//!
//! | path | format | module |
//! |---|---|---|
//! | folder with four IDX files | MNIST's | [`unisono_learn::data`] |
//! | folder with `data_batch_1.bin`, … | CIFAR-10's binary files | [`cifar`] |
//! | `….npz`, `….safetensors` | the arrays `x_train`, `y_train`, `x_test` and `y_test` | [`arrays`] |
//! | `….csv` | a table with a header and a column of labels | [`table`] |
//!
//! A data set is a pure function of its files, and its digest tells two data sets apart. The files
//! may come from any source, so their content is not trusted.

pub mod arrays;
pub mod cifar;
mod division;
mod error;
pub mod table;

use std::path::Path;

use unisono_learn::data::{Dataset, DatasetError};

pub use division::Division;

/// Opens a data set in any format. Without a path, returns the embedded digits.
///
/// # Errors
/// Returns an error if a file is missing or malformed, or if the division leaves no examples to
/// train on. The text names the file, the place and a remedy.
pub fn open(path: Option<&Path>, division: Division<'_>) -> Result<Dataset, DatasetError> {
    let Some(path) = path else { return Dataset::open(None, division.validation) };
    if path.is_dir() {
        return match cifar::is_in(path) {
            true => cifar::load(path, division.validation),
            false => Dataset::load(path, division.validation),
        };
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npz" | "safetensors") => arrays::load(path, division.validation),
        Some("csv") => table::load(path, division),
        _ if path.is_file() => Err(DatasetError::Unfit(format!(
            "{} is not a data set: give a folder of IDX or CIFAR-10 files, or a file that ends in \
             .npz, .safetensors or .csv",
            path.display()
        ))),
        // If the folder does not exist, the error of `load` names it.
        _ => Dataset::load(path, division.validation),
    }
}
