//! Reads a file of tensors in either format.

use unisono_files::checkpoint::FileError;

use crate::npz::NpzError;
use crate::tensor::{Contents, Format};
use crate::{npz, safetensors};

/// The reason why a file of tensors cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The safetensors file is not valid.
    #[error(transparent)]
    Safetensors(#[from] FileError),
    /// The npz file is not valid.
    #[error(transparent)]
    Npz(#[from] NpzError),
}

impl ReadError {
    /// Returns whether the file uses an unsupported feature. Such a file may be undamaged.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Npz(NpzError::Unsupported(_)))
    }
}

impl Contents {
    /// Decodes a file of tensors. Does not verify the digest of a checkpoint.
    ///
    /// # Errors
    /// Returns an error if the file is not valid.
    pub fn decode(format: Format, bytes: &[u8]) -> Result<Self, ReadError> {
        match format {
            Format::Safetensors => Ok(safetensors::decode(bytes)?),
            Format::Npz => Ok(npz::decode(bytes)?),
        }
    }
}
