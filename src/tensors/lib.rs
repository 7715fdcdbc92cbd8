//! Files of tensors of any type, in safetensors and numpy's npz, for inspection and for other
//! programs.
//!
//! Training uses none of this: its checkpoints are read and written by
//! [`unisono_files::checkpoint`]. Files read here may come from any source, so no byte is trusted.

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
