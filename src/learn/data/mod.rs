//! Data sets, and the order in which each slot draws its examples.

mod dataset;
mod examples;
mod file_names;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzzing/idx.rs"]
pub mod fuzzing;
mod gzip_file;
pub mod idx;
mod idx_file;
mod order;
mod permutation;
mod pixels;
mod published;
mod survey;

pub use dataset::{
    Dataset, DatasetError, EMBEDDED_VALIDATION_SIZE, FILE_NAMES, LabelledBytes, VALIDATION_SIZE,
};
pub use examples::Examples;
pub use idx_file::{Compression, ContentError, FileError};
pub use order::{BatchOrder, Batches};
pub use permutation::permutation;
pub use published::{Known, Published, PublishedFile};
pub use survey::{FileSurvey, Survey};
