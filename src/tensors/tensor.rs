//! The content of a file of tensors, in either format.

use ::safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use unisono_files::checkpoint::FileError;
use unisono_files::checkpoint::file::{Description, KEY};

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
    pub fn new(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Self {
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

impl Contents {
    /// What makes a checkpoint of it, if it is there.
    pub fn description(&self) -> Option<Result<Description, FileError>> {
        self.metadata.get(KEY).map(|json| Description::parse(json))
    }
}
