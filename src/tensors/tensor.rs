//! The content of a file of tensors, independent of its format.

use ::safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use unisono_files::checkpoint::FileError;
use unisono_files::checkpoint::file::{Description, KEY};

/// A file format for tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Safetensors, the format of checkpoints.
    Safetensors,
    /// A zip of arrays, as written by `numpy.savez`.
    Npz,
}

impl Format {
    /// Returns the format for the suffix of a file name; `None` for an unknown suffix.
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
    /// Type of the elements.
    pub dtype: Dtype,
    /// Size in each dimension.
    pub shape: Vec<usize>,
    /// Elements, row-major and little-endian.
    pub bytes: Vec<u8>,
}

impl AnyTensor {
    /// Creates a tensor. `bytes` contains the elements, row-major and little-endian.
    pub fn new(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Self {
        Self { dtype, shape: shape.to_vec(), bytes: bytes.to_vec() }
    }
}

/// The content of a file of tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The metadata of the file.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name, including the global step of a checkpoint.
    pub tensors: BTreeMap<String, AnyTensor>,
}

impl Contents {
    /// Returns the description of a checkpoint from the metadata; `None` if the metadata contains
    /// no description.
    ///
    /// # Errors
    /// Returns an error if the description is not valid.
    pub fn description(&self) -> Option<Result<Description, FileError>> {
        self.metadata.get(KEY).map(|json| Description::parse(json))
    }
}
