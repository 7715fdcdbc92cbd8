//! Safetensors files with tensors of any type and any metadata.

use std::collections::BTreeMap;

use ::safetensors::tensor::{Dtype, TensorView};

use crate::tensor::{AnyTensor, Contents};
use unisono_core::floats::Floats;
use unisono_core::ids::Step;
use unisono_files::checkpoint::file::{self, KEY, Parsed};
use unisono_files::checkpoint::{Checkpoint, FileError, GLOBAL_STEP, Tensor};

/// Key of the metadata in a header.
const METADATA: &str = "__metadata__";

/// Decodes a safetensors file. Does not verify the digest of a checkpoint.
pub(super) fn decode(bytes: &[u8]) -> Result<Contents, FileError> {
    let parsed = Parsed::new(bytes)?;
    let metadata = parsed.metadata().map(|all| all.clone().into_iter().collect());
    let tensors = parsed
        .raw_tensors()
        .map(|(name, info, bytes)| (name, AnyTensor::new(info.dtype, &info.shape, bytes)));
    Ok(Contents { metadata: metadata.unwrap_or_default(), tensors: tensors.collect() })
}

/// Checks a file in the same way as training would. `named` is the step in the file's name; `None`
/// if the file does not have the name of a checkpoint.
pub(super) fn judge(named: Option<Step>, bytes: &[u8]) -> Result<(), FileError> {
    let parsed = Parsed::new(bytes)?;
    if named.is_none() && !parsed.is_checkpoint() {
        return Ok(());
    }
    let own = || parsed.metadata()?.get(KEY).map(|json| file::Description::parse(json));
    let own = own().and_then(Result::ok).map(|description| description.step);
    file::decode(named.or(own).unwrap_or_default(), bytes).map(drop)
}

/// Encodes the contents as a checkpoint if their metadata describes a checkpoint, and as plain
/// tensors with metadata otherwise. Returns the bytes, and the step if the file is a checkpoint.
pub(super) fn encode(contents: &Contents) -> Result<(Vec<u8>, Option<Step>), FileError> {
    match checkpoint(contents)? {
        Some(checkpoint) => Ok((file::encode(&checkpoint), Some(checkpoint.step))),
        None => Ok((encode_tensors(contents), None)),
    }
}

/// Converts the contents to a checkpoint; returns `None` if their metadata does not describe a
/// checkpoint.
fn checkpoint(contents: &Contents) -> Result<Option<Checkpoint>, FileError> {
    let Some(description) = contents.description().transpose()? else { return Ok(None) };
    let step = description.step;
    let mut tensors = BTreeMap::new();
    let mut has_step = false;
    for (name, tensor) in &contents.tensors {
        match (name.as_str(), tensor.dtype) {
            (GLOBAL_STEP, _) => {
                check_global_step(step, tensor)?;
                has_step = true;
            }
            (_, Dtype::F32) => {
                let (values, _) = tensor.bytes.as_chunks();
                let values: Vec<_> =
                    values.iter().map(|value| f32::from_le_bytes(*value)).collect();
                let values = Floats::from(values);
                tensors.insert(name.clone(), Tensor::new(tensor.shape.clone(), values));
            }
            (_, dtype) => {
                return Err(FileError::Type { name: name.clone(), dtype: dtype.to_string() });
            }
        }
    }
    if !has_step {
        return Err(FileError::Metadata(format!("there is no tensor {GLOBAL_STEP}")));
    }
    let file::Description { settings, data, variables, .. } = description;
    Ok(Some(Checkpoint { step, settings, data, variables, tensors }))
}

/// Checks that the tensor `global_step` equals the step in the metadata.
fn check_global_step(step: Step, tensor: &AnyTensor) -> Result<(), FileError> {
    let is_scalar = tensor.dtype == Dtype::I64 && tensor.shape.is_empty();
    let value = tensor.bytes.as_slice().try_into().ok().filter(|_| is_scalar);
    let value = value
        .map(i64::from_le_bytes)
        .ok_or_else(|| FileError::Metadata(format!("{GLOBAL_STEP} is not a scalar of type I64")))?;
    if i128::from(value) == i128::from(step.0) {
        return Ok(());
    }
    let why = format!("it has step {step}, but {GLOBAL_STEP} is {value}");
    Err(FileError::Metadata(why))
}

fn encode_tensors(contents: &Contents) -> Vec<u8> {
    let views = contents.tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (name, view.expect("a tensor has the bytes of its shape"))
    });
    let bytes = ::safetensors::serialize(views, None).expect("the views fit together");
    if contents.metadata.is_empty() { bytes } else { with_metadata(&bytes, &contents.metadata) }
}

/// Inserts metadata into the header of a safetensors file. The keys are sorted, because the
/// safetensors crate would write them in a varying order.
fn with_metadata(file: &[u8], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let (length, rest) = file.split_first_chunk().expect("it begins with its header's length");
    let length = usize::try_from(u64::from_le_bytes(*length)).expect("it is in memory");
    let (header, data) = rest.split_at(length);
    let tensors = header.trim_ascii_end().strip_prefix(b"{").expect("a header is an object");
    let metadata = serde_json::to_string(metadata).expect("strings are JSON");
    let comma = if tensors == b"}" { "" } else { "," };
    let begin = format!("{{\"{METADATA}\":{metadata}{comma}");
    let mut header = [begin.as_bytes(), tensors].concat();
    // Safetensors aligns the data to 8 bytes. Spaces after the header fill the gap.
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        Contents {
            metadata: BTreeMap::new(),
            tensors: [
                ("a\"b", AnyTensor::new(Dtype::U8, &[3], b"xyz")),
                ("f", AnyTensor::new(Dtype::F64, &[], &2.5f64.to_le_bytes())),
                ("none", AnyTensor::new(Dtype::BF16, &[0, 7], b"")),
            ]
            .map(|(name, tensor)| (name.to_owned(), tensor))
            .into(),
        }
    }

    #[test]
    fn any_types_and_metadata_survive_a_round_trip_and_encode_to_the_same_bytes() {
        let keys = ["z", "a", "\u{e9} \"", "m"];
        let metadata: BTreeMap<_, _> =
            keys.map(|key| (key.to_owned(), format!("{key}\n"))).into_iter().collect();
        for metadata in [BTreeMap::new(), metadata] {
            for tensors in [contents().tensors, BTreeMap::new()] {
                let contents = Contents { metadata: metadata.clone(), tensors };
                let (bytes, step) = encode(&contents).unwrap();
                assert_eq!(step, None);
                assert_eq!(decode(&bytes).unwrap(), contents);
                assert_eq!(encode(&contents).unwrap().0, bytes);
                assert!(::safetensors::SafeTensors::deserialize(&bytes).is_ok());
            }
        }
    }
}
