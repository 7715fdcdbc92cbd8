//! What is in a file of tensors, and whether it is whole. Of a damaged one, what can still be read.

use std::path::Path;

use serde::{Serialize, Serializer};

use super::safetensors;
use super::statistics::Statistics;
use crate::tensor::{AnyTensor, Contents, Format};
use unisono_core::ids::Step;
use unisono_files::checkpoint::step_of;
use unisono_files::sha256;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// All that is needed to go on with a run, in the format that training reads.
    Checkpoint,
    /// A checkpoint that was converted.
    CheckpointAsNpz,
    /// Tensors of anybody's.
    Safetensors,
    /// Arrays of anybody's.
    Npz,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// What it is, as far as can be told.
    pub kind: Kind,
    /// What is wrong with it, if anything is.
    pub damage: Option<String>,
    /// Why it cannot be read, although it may be whole: it is of a kind that is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
    /// Its size.
    pub bytes: usize,
    /// Its SHA-256.
    pub sha256: String,
    /// The digest that a checkpoint has in itself.
    pub digest: Option<String>,
    /// The step of a checkpoint.
    pub step: Option<Step>,
    /// The digest of the data that a checkpoint was trained on.
    pub data: Option<String>,
    /// The settings that a checkpoint was trained with, in their order.
    #[serde(serialize_with = "as_object")]
    pub settings: Vec<(String, String)>,
    /// What else is said beside the tensors.
    #[serde(serialize_with = "as_object")]
    pub metadata: Vec<(String, String)>,
    /// Its tensors, by name.
    pub tensors: Vec<TensorReport>,
}

fn as_object<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

/// What a tensor is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// The type of its elements, as safetensors names it.
    pub dtype: String,
    /// Its size in each dimension.
    pub shape: Vec<usize>,
    /// How many elements it has.
    pub elements: usize,
    /// The CRC32C of its bytes, in hexadecimal: of `f32`, that which the ledger has of shards.
    pub crc32c: String,
    /// Of its values, if they are numbers.
    #[serde(flatten)]
    pub statistics: Option<Statistics>,
}

/// Looks into a file of this name.
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
            error.map(|error| format!("it says that it is a checkpoint, and is not: {error}"))
        }
    };
    let unsupported =
        contents.as_ref().err().filter(|error| error.is_unsupported()).map(ToString::to_string);
    let mut contents = contents.unwrap_or_default();
    let description = contents.description();
    let is_checkpoint = description.is_some();
    let description = description.and_then(Result::ok);
    if description.is_some() {
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
        // That of an npz file is of another file.
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
    fn a_checkpoint_says_what_it_holds_and_that_it_is_whole() {
        let seen = look("model.ckpt-200.safetensors", &encode(&checkpoint_of(Step(200), 3)));
        insta::assert_snapshot!(serde_json::to_string_pretty(&seen).unwrap());
        assert_eq!(seen, look("renamed.safetensors", &encode(&checkpoint_of(Step(200), 3))));
    }

    #[test]
    fn damage_is_told_and_what_can_be_read_is_shown_all_the_same() {
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
        it is of step 200 by its metadata, and of step 300 by its name
        it has 409 bytes where its header announces 412: it is torn
        it is truncated, or no safetensors file: 100 bytes do not hold its header
        it is not a whole npz file: invalid Zip archive: Could not find EOCD
        its content has the digest da90bbfd where 28fb38fe was recorded: it is corrupt
        ");
    }
}
