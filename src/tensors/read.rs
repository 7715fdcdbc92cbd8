//! Reads a file of tensors in either format.

use unisono_files::checkpoint::FileError;

use crate::npz::NpzError;
use crate::tensor::{Contents, Format};
use crate::{npz, safetensors};

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
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Npz(error) if error.is_unsupported())
    }
}

impl Contents {
    /// Reads a file. A checkpoint's digest is not looked at.
    pub fn decode(format: Format, bytes: &[u8]) -> Result<Self, ReadError> {
        match format {
            Format::Safetensors => Ok(safetensors::decode(bytes)?),
            Format::Npz => Ok(npz::decode(bytes)?),
        }
    }
}
