//! The workload of the program `unisono`.

use unisono_datasets::Division;
use unisono_learn::Workload;

/// Returns the workload of the program: the built-in models, on data in any format.
pub(super) fn workload() -> Workload {
    Workload::built_in()
        .with_data(|source| unisono_datasets::open(source.path(), Division::of(source)))
}
