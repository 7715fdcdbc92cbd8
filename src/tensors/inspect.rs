//! Describes a file of tensors, and checks that the file is not damaged. If the file is damaged,
//! describes the readable part.

use std::path::Path;

use serde::{Serialize, Serializer};

use super::statistics::Statistics;
use super::{ConvertError, safetensors};
use crate::tensor::{AnyTensor, Contents, Format};
use unisono_core::ids::Step;
use unisono_files::checkpoint::step_of;
use unisono_files::sha256;

/// The kind of a file of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A checkpoint in the format that training reads.
    Checkpoint,
    /// A checkpoint converted to npz.
    CheckpointAsNpz,
    /// Safetensors other than a checkpoint.
    Safetensors,
    /// npz arrays other than a checkpoint.
    Npz,
}

/// Description of a file of tensors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Kind of the file, as far as the readable part of the file shows the kind.
    pub kind: Kind,
    /// Damage found in the file; `None` if the file is not damaged.
    pub damage: Option<String>,
    /// The unsupported feature that prevents reading the file; `None` if there is no such feature.
    /// A file with an unsupported feature may be undamaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
    /// Size of the file in bytes.
    pub bytes: usize,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// CRC32C that a checkpoint file contains for its own content, in hexadecimal.
    pub digest: Option<String>,
    /// Step of a checkpoint.
    pub step: Option<Step>,
    /// Digest of the training data of a checkpoint.
    pub data: Option<String>,
    /// Settings of the run that wrote a checkpoint, in the order in which the checkpoint contains
    /// them.
    #[serde(serialize_with = "as_object")]
    pub settings: Vec<(String, String)>,
    /// Metadata of the file, without the description of a checkpoint.
    #[serde(serialize_with = "as_object")]
    pub metadata: Vec<(String, String)>,
    /// Tensors, by name.
    pub tensors: Vec<TensorReport>,
}

fn as_object<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

/// Description of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorReport {
    /// Name of the tensor.
    pub name: String,
    /// Type of the elements, as safetensors names it.
    pub dtype: String,
    /// Size in each dimension.
    pub shape: Vec<usize>,
    /// Number of elements.
    pub elements: usize,
    /// CRC32C of the tensor's bytes, in hexadecimal. Ledgers use the same checksum for the `f32`
    /// values of a shard.
    pub crc32c: String,
    /// Statistics of the values; `None` if none of the values is finite, or if the type of the
    /// values is not supported.
    #[serde(flatten)]
    pub statistics: Option<Statistics>,
}

/// Describes the content of a file. If the name of the file is that of a checkpoint, also compares
/// the step in the name with the step in the content.
#[must_use]
pub fn inspect(name: &Path, format: Format, bytes: &[u8]) -> Inspection {
    let contents = Contents::decode(format, bytes);
    let damage = match (&contents, format) {
        (Err(error), _) => Some(error.to_string()).filter(|_| !error.is_unsupported()),
        (Ok(_), Format::Safetensors) => {
            let named = name.file_name().and_then(|name| step_of(name.to_str()?));
            safetensors::judge(named, bytes).err().map(|error| error.to_string())
        }
        (Ok(contents), Format::Npz) => {
            let error = safetensors::encode(contents).err();
            error.map(|error| ConvertError::NotACheckpoint(error).to_string())
        }
    };
    let unsupported =
        contents.as_ref().err().filter(|error| error.is_unsupported()).map(ToString::to_string);
    let mut contents = contents.unwrap_or_default();
    let description = contents.description();
    let is_checkpoint = description.is_some();
    let description = description.and_then(Result::ok);
    if description.is_some() {
        // The description is removed from the metadata, because the inspection shows it in separate
        // fields.
        contents.metadata.remove(unisono_files::checkpoint::file::KEY);
    }
    let kind = match (format, is_checkpoint) {
        (Format::Safetensors, true) => Kind::Checkpoint,
        (Format::Safetensors, false) => Kind::Safetensors,
        (Format::Npz, true) => Kind::CheckpointAsNpz,
        (Format::Npz, false) => Kind::Npz,
    };
    let settings = description.as_ref().map(|found| {
        found.settings.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    });
    Inspection {
        kind,
        damage,
        unsupported,
        bytes: bytes.len(),
        sha256: sha256::of_bytes(bytes),
        step: description.as_ref().map(|found| found.step),
        data: description.as_ref().and_then(|found| found.data.clone()),
        // An npz file that was converted from a checkpoint repeats the digest of the checkpoint.
        // This digest does not match the npz file, so it is left out.
        digest: description.map(|found| found.crc32c).filter(|_| format == Format::Safetensors),
        settings: settings.unwrap_or_default(),
        metadata: contents.metadata.into_iter().collect(),
        tensors: contents.tensors.iter().map(|(name, tensor)| report(name, tensor)).collect(),
    }
}

fn report(name: &str, tensor: &AnyTensor) -> TensorReport {
    TensorReport {
        name: name.to_owned(),
        dtype: tensor.dtype.to_string(),
        shape: tensor.shape.clone(),
        elements: tensor.shape.iter().product(),
        crc32c: format!("{:08x}", crc32c::crc32c(&tensor.bytes)),
        statistics: Statistics::of(tensor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_files::checkpoint::file::encode;
    use unisono_files::testing::checkpoint_of;

    fn look(name: &str, bytes: &[u8]) -> Inspection {
        inspect(Path::new(name), Format::of(Path::new(name)).unwrap(), bytes)
    }

    #[test]
    fn inspection_of_a_checkpoint_lists_its_content_without_damage() {
        let seen = look("model.ckpt-200.safetensors", &encode(&checkpoint_of(Step(200), 3)));
        insta::assert_snapshot!(serde_json::to_string_pretty(&seen).unwrap());
        assert_eq!(seen, look("renamed.safetensors", &encode(&checkpoint_of(Step(200), 3))));
    }

    #[test]
    fn damage_is_reported_with_the_readable_content() {
        let mut bytes = encode(&checkpoint_of(Step(200), 3));
        let damage = |name: &str, bytes: &[u8]| look(name, bytes).damage.unwrap();
        let of_300 = damage("model.ckpt-300.safetensors", &bytes);
        let torn = damage("model.ckpt-200.safetensors", &bytes[..bytes.len() - 3]);
        let short = damage("model.ckpt-200.safetensors", &bytes[..100]);
        let no_zip = damage("model.npz", &bytes);
        *bytes.last_mut().unwrap() ^= 1;
        let flipped = look("model.ckpt-200.safetensors", &bytes);
        assert_eq!((flipped.step, flipped.tensors.len()), (Some(Step(200)), 3));
        let all = [of_300, torn, short, no_zip, flipped.damage.unwrap()].join("\n");
        insta::assert_snapshot!(all, @"
        its metadata has step 200, but its name has step 300
        it has 521 bytes where its header announces 524: it is torn
        it is truncated or not a safetensors file: 100 bytes do not contain its header
        it is not a whole npz file: invalid Zip archive: Could not find EOCD
        its content has digest 33761aa8, but c11d99ab was recorded: it is corrupt
        ");
    }
}
