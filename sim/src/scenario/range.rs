//! Ranges of values.

use serde::Serialize;

/// The values from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range<T> {
    /// The least value.
    pub min: T,
    /// The greatest value.
    pub max: T,
}

impl<T: PartialOrd> Range<T> {
    /// Returns whether a value is in the range.
    pub fn contains(&self, value: &T) -> bool {
        (&self.min..=&self.max).contains(&value)
    }
}
