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

    /// Calls `take` with each element, in row-major order. Only integers above 2^53 are rounded.
    /// Returns `false` without a call for an unsupported type, such as `F16` and complex numbers.
    pub fn for_each_number(&self, mut take: impl FnMut(f64)) -> bool {
        macro_rules! each {
            ($type:ty) => {
                self.bytes
                    .as_chunks()
                    .0
                    .iter()
                    .for_each(|b| take(<$type>::from_le_bytes(*b) as f64))
            };
        }
        match self.dtype {
            Dtype::F32 => each!(f32),
            Dtype::F64 => each!(f64),
            Dtype::BF16 => {
                let upper_half = |value: &[u8; 2]| u32::from(u16::from_le_bytes(*value)) << 16;
                let values = self.bytes.as_chunks().0.iter();
                values.for_each(|value| take(f32::from_bits(upper_half(value)).into()));
            }
            Dtype::I8 => each!(i8),
            Dtype::U8 | Dtype::BOOL => each!(u8),
            Dtype::I16 => each!(i16),
            Dtype::U16 => each!(u16),
            Dtype::I32 => each!(i32),
            Dtype::U32 => each!(u32),
            Dtype::I64 => each!(i64),
            Dtype::U64 => each!(u64),
            _ => return false,
        }
        true
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
