//! The workload of the program `unisono`.

use unisono_config::RunConfig;
use unisono_datasets::Division;
use unisono_learn::Workload;
use unisono_learn::data::{Dataset, DatasetError};

/// Returns the workload of the program: the built-in models, on data in any format.
pub(super) fn workload() -> Workload {
    Workload::built_in().with_data(|setup| open(setup.run()))
}

/// Opens the data that a configuration names.
///
/// # Errors
/// Returns an error if the data are missing or malformed.
pub(super) fn open(run: &RunConfig) -> Result<Dataset, DatasetError> {
    let division = Division {
        validation: run.validation_size,
        test: run.test_size,
        label_column: run.label_column.as_deref(),
    };
    unisono_datasets::open(run.data_dir.as_deref(), division)
}
