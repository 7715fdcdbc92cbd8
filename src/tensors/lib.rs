//! Files of tensors of any type, for looking into them and for other programs: safetensors, and
//! numpy's npz.
//!
//! Training reads and writes none of this: its checkpoints are [`unisono_files::checkpoint`]'s. Every byte
//! that is read here may be anybody's.

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

pub mod convert;
#[cfg(any(test, fuzzing))]
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
