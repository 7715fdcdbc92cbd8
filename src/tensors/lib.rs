//! Files of tensors of any type, in safetensors or numpy's npz format. They can be inspected, and
//! exchanged with other programs.
//!
//! Training does not use this crate: [`unisono_files::checkpoint`] reads and writes its
//! checkpoints. Files that are read here may come from any source, so their content is not trusted.

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

pub mod convert;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzzing/tensors.rs"]
pub mod fuzzing;
pub mod inspect;
mod npy;
mod npz;
mod read;
mod safetensors;
mod statistics;
pub mod tensor;

pub use ::safetensors::tensor::Dtype;

pub use convert::{ConvertError, Converted, convert};
pub use inspect::{Inspection, inspect};
pub use npz::NpzError;
pub use read::ReadError;
