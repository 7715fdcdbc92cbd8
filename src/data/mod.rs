//! Where examples come from, and in which order a slot draws them.

mod dataset;
mod examples;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod idx;
mod idx_file;
mod order;
mod permutation;
mod pixels;

pub use dataset::{Dataset, DatasetError, EMBEDDED_VALIDATION_SIZE, Source, VALIDATION_SIZE};
pub use examples::Examples;
pub use idx_file::FileError;
pub use order::{BatchOrder, Batches};
pub use permutation::permutation;
