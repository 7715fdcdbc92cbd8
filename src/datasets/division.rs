//! The division of a data set into training, validation and test examples.

use unisono_core::train_config::Portion;
use unisono_learn::DataSource;

/// The parts into which a data set is divided, and the column of the labels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Division<'a> {
    /// The training examples that are used for validation; `None` for the default of the format.
    pub validation: Option<Portion>,
    /// The examples of a table that are used as test examples; `None` for a fifth of them.
    pub test: Option<Portion>,
    /// The name of a table's column of labels; `None` for `label`.
    pub label_column: Option<&'a str>,
}

impl<'a> Division<'a> {
    /// Returns the division that the settings of a run select.
    #[must_use]
    pub fn of(source: &'a DataSource<'_>) -> Self {
        Self {
            validation: source.validation_size(),
            test: source.test_size(),
            label_column: source.label_column(),
        }
    }
}
