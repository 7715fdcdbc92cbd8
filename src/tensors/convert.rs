//! Converts a file of tensors between safetensors and npz. A checkpoint that is converted and
//! converted back has the same bytes.

use std::path::Path;

use super::{NpzError, npz, safetensors};
use crate::read::ReadError;
use crate::tensor::{Contents, Format};
use unisono_core::ids::Step;
use unisono_files::checkpoint::{FileError, step_of};

/// A file that was converted to the other format.
#[derive(Debug, PartialEq, Eq)]
pub struct Converted {
    /// Content of the file.
    pub bytes: Vec<u8>,
    /// Step of the checkpoint in the file; `None` if the file is not a checkpoint.
    pub step: Option<Step>,
    /// Number of tensors in the file.
    pub n_tensors: usize,
}

/// The reason why a file cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The file is damaged, or has another format.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// npz cannot represent one of the tensors.
    #[error("{0}; leave it in safetensors")]
    Npz(NpzError),
    /// The metadata describes a checkpoint, but does not match the tensors.
    #[error("its metadata describes a checkpoint, but it is not one: {0}")]
    NotACheckpoint(FileError),
    /// The target file has the name of a checkpoint, but the content is a checkpoint of another
    /// step or no checkpoint. The text contains the name and a remedy.
    #[error("{0}")]
    Name(String),
}

/// Converts the bytes of a file to the other format. The caller stores the result at the path `to`.
///
/// # Errors
/// Returns an error if the file is damaged, if the other format cannot represent the content, or if
/// the name `to` does not match the content.
pub fn convert(from: Format, bytes: &[u8], to: &Path) -> Result<Converted, ConvertError> {
    let contents = Contents::decode(from, bytes)?;
    let n_tensors = contents.tensors.len();
    let (bytes, step) = match from {
        Format::Safetensors => {
            // `Contents::decode` does not verify the digest of a checkpoint.
            safetensors::judge(None, bytes).map_err(ReadError::from)?;
            let step = contents.description().and_then(Result::ok).map(|found| found.step);
            (npz::encode(&contents).map_err(ConvertError::Npz)?, step)
        }
        Format::Npz => {
            let encoded = safetensors::encode(&contents);
            let (bytes, step) = encoded.map_err(ConvertError::NotACheckpoint)?;
            check_name(to, step)?;
            (bytes, step)
        }
    };
    Ok(Converted { bytes, step, n_tensors })
}

/// Rejects the name of a checkpoint file if the step in the name differs from the step of the
/// content (rule 7).
fn check_name(to: &Path, step: Option<Step>) -> Result<(), ConvertError> {
    let name = to.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(named) = step_of(name).filter(|named| step != Some(*named)) else { return Ok(()) };
    Err(ConvertError::Name(match step {
        Some(content) => format!(
            "it is the checkpoint of step {content}, but {name} is the name of the checkpoint of step \
             {named}; name it model.ckpt-{content}.safetensors"
        ),
        None => format!(
            "{name} is the name of a checkpoint, but this file has no settings of a run, so it cannot \
             become one; choose another name, and use the file with --init-from"
        ),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;
    use crate::tensor::AnyTensor;
    use unisono_files::checkpoint::file::encode;
    use unisono_files::testing::checkpoint_of;

    const NAME: &str = "logdir/model.ckpt-200.safetensors";

    fn to_npz(bytes: &[u8]) -> Converted {
        convert(Format::Safetensors, bytes, Path::new("x.npz")).unwrap()
    }

    fn back(npz: &[u8], to: &str) -> Result<Converted, ConvertError> {
        convert(Format::Npz, npz, Path::new(to))
    }

    #[test]
    fn converted_checkpoint_converts_back_to_the_same_bytes() {
        let bytes = encode(&checkpoint_of(Step(200), 3));
        let npz = to_npz(&bytes);
        assert_eq!((npz.step, npz.n_tensors), (Some(Step(200)), 3));
        let expected = Converted { bytes, step: Some(Step(200)), n_tensors: 3 };
        assert_eq!(back(&npz.bytes, NAME).unwrap(), expected);
        assert_eq!(back(&npz.bytes, "any.safetensors").unwrap(), expected);
    }

    #[test]
    fn damaged_checkpoint_is_not_converted() {
        let mut bytes = encode(&checkpoint_of(Step(200), 3));
        *bytes.last_mut().unwrap() ^= 1;
        let error = convert(Format::Safetensors, &bytes, Path::new("x.npz")).unwrap_err();
        assert!(error.to_string().contains("it is corrupt"), "{error}");
    }

    #[test]
    fn target_name_with_the_step_of_another_checkpoint_is_refused() {
        let npz = to_npz(&encode(&checkpoint_of(Step(200), 3))).bytes;
        let mut contents = npz::decode(&npz).unwrap();
        contents.metadata.clear();
        let plain = npz::encode(&contents).unwrap();
        let errors =
            [back(&npz, "model.ckpt-300.safetensors"), back(&plain, "model.ckpt-200.safetensors")]
                .map(|result| result.unwrap_err().to_string())
                .join("\n");
        insta::assert_snapshot!(errors, @"
        it is the checkpoint of step 200, but model.ckpt-300.safetensors is the name of the \
        checkpoint of step 300; name it model.ckpt-200.safetensors
        model.ckpt-200.safetensors is the name of a checkpoint, but this file has no settings of \
        a run, so it cannot become one; choose another name, and use the file with --init-from
        ");
        assert_eq!(back(&plain, "init.safetensors").unwrap().step, None);
    }

    #[test]
    fn tensors_that_contradict_the_metadata_are_refused() {
        let whole = npz::decode(&to_npz(&encode(&checkpoint_of(Step(200), 3))).bytes).unwrap();
        let tensor = |dtype, bytes: &[u8]| AnyTensor::new(dtype, &[], bytes);
        let edit = |name: &str, tensor: Option<AnyTensor>| {
            let mut contents = whole.clone();
            contents.tensors.remove(name);
            contents.tensors.extend(tensor.map(|tensor| (name.to_owned(), tensor)));
            back(&npz::encode(&contents).unwrap(), NAME).unwrap_err().to_string()
        };
        let errors = [
            edit("global_step", None),
            edit("global_step", Some(tensor(Dtype::I64, &201i64.to_le_bytes()))),
            edit("global_step", Some(tensor(Dtype::F64, &200f64.to_le_bytes()))),
            edit("layer1/biases", Some(tensor(Dtype::F64, &0f64.to_le_bytes()))),
        ]
        .join("\n");
        insta::assert_snapshot!(errors, @"
        its metadata describes a checkpoint, but it is not one: its metadata is invalid: there is \
        no tensor global_step
        its metadata describes a checkpoint, but it is not one: its metadata is invalid: it has \
        step 200, but global_step is 201
        its metadata describes a checkpoint, but it is not one: its metadata is invalid: \
        global_step is not a scalar of type I64
        its metadata describes a checkpoint, but it is not one: tensor layer1/biases is of type \
        F64; only F32 can be read
        ");
    }
}
