//! Files of tensors of any type, for looking into them and for other programs: safetensors, and
//! numpy's npz.
//!
//! Training reads and writes none of this: its checkpoints are [`crate::checkpoint`]'s. Every byte
//! that is read here may be anybody's.

pub mod convert;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod inspect;
mod npy;
mod npz;
mod safetensors;
mod statistics;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use ::safetensors::tensor::Dtype;

pub use convert::{ConvertError, Converted, convert};
pub use inspect::{Inspection, inspect};
pub use npz::NpzError;

use crate::checkpoint::FileError;
use crate::checkpoint::file::{Description, KEY};

/// A form in which tensors are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// That of the checkpoints.
    Safetensors,
    /// A zip of arrays, as `numpy.savez` makes it.
    Npz,
}

impl Format {
    /// The format that a file has by the ending of its name.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "safetensors" => Some(Self::Safetensors),
            "npz" => Some(Self::Npz),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Npz => "npz",
        })
    }
}

/// A tensor of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyTensor {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its size in each dimension.
    pub shape: Vec<usize>,
    /// Its elements, row-major and little-endian.
    pub bytes: Vec<u8>,
}

impl AnyTensor {
    fn new(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Self {
        Self { dtype, shape: shape.to_vec(), bytes: bytes.to_vec() }
    }
}

/// All that a file of tensors holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// What is said beside the tensors.
    pub metadata: BTreeMap<String, String>,
    /// The tensors, the global step of a checkpoint among them.
    pub tensors: BTreeMap<String, AnyTensor>,
}

/// Why a file of tensors cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A safetensors file, or what it holds.
    #[error(transparent)]
    Safetensors(#[from] FileError),
    /// An npz file.
    #[error(transparent)]
    Npz(#[from] NpzError),
}

impl ReadError {
    /// Whether the file may be whole, and is only of a kind that is not read.
    fn is_unsupported(&self) -> bool {
        matches!(self, Self::Npz(error) if error.is_unsupported())
    }
}

impl Contents {
    /// Reads a file. A checkpoint's digest is not looked at.
    fn decode(format: Format, bytes: &[u8]) -> Result<Self, ReadError> {
        match format {
            Format::Safetensors => Ok(safetensors::decode(bytes)?),
            Format::Npz => Ok(npz::decode(bytes)?),
        }
    }

    /// What makes a checkpoint of it, if it is there.
    fn description(&self) -> Option<Result<Description, FileError>> {
        self.metadata.get(KEY).map(|json| Description::parse(json))
    }
}
