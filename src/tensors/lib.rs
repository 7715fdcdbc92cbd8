//! Files of tensors of any type, in safetensors or numpy's npz format. This crate inspects such
//! files, and converts them between the two formats, to exchange tensors with other programs.
//!
//! Training does not use this crate, because [`unisono_files::checkpoint`] reads and writes the
//! checkpoints of training. The files that this crate reads may come from any source, so their
//! content is not trusted.

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
