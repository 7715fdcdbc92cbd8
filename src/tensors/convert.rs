//! From one format to the other, and back to the same bytes.

use std::path::Path;

use super::{NpzError, npz, safetensors};
use crate::read::ReadError;
use crate::tensor::{Contents, Format};
use unisono_core::ids::Step;
use unisono_files::checkpoint::{FileError, step_of};

/// A file in the other format.
#[derive(Debug, PartialEq, Eq)]
pub struct Converted {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The step of the checkpoint that is in it, if it has all that makes one.
    pub step: Option<Step>,
    /// How many tensors are in it.
    pub n_tensors: usize,
}

/// Why a file cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The file is damaged, or no such file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A tensor has no place in an npz file.
    #[error("{0}; leave it in safetensors")]
    Npz(NpzError),
    /// The metadata and the tensors are not those of a checkpoint.
    #[error("it says that it is a checkpoint, and is not: {0}")]
    NotACheckpoint(FileError),
    /// A checkpoint's name is its content.
    #[error(
        "it is the checkpoint of step {content}, but {name} is the name of that of step {named}; \
         name it model.ckpt-{content}.safetensors"
    )]
    Step {
        /// The name that it was to have.
        name: String,
        /// The step in that name.
        named: Step,
        /// The step in the file.
        content: Step,
    },
    /// The name of a checkpoint is for checkpoints.
    #[error(
        "{name} is the name of a checkpoint, and there are no settings of a run in this file that \
         would make it one; choose another name, and give it to --init-from"
    )]
    Name {
        /// The name that it was to have.
        name: String,
    },
}

/// Converts the bytes of a file, for a file that is to be called `to`.
///
/// # Errors
/// If the file is damaged, or would not be in the other format what it is in this one.
pub fn convert(from: Format, bytes: &[u8], to: &Path) -> Result<Converted, ConvertError> {
    let contents = Contents::decode(from, bytes)?;
    let n_tensors = contents.tensors.len();
    match from {
        Format::Safetensors => {
            safetensors::judge(None, bytes).map_err(ReadError::from)?;
            let step = contents.description().and_then(Result::ok).map(|found| found.step);
            let bytes = npz::encode(&contents).map_err(ConvertError::Npz)?;
            Ok(Converted { bytes, step, n_tensors })
        }
        Format::Npz => {
            let encoded = safetensors::encode(&contents);
            let (bytes, step) = encoded.map_err(ConvertError::NotACheckpoint)?;
            check_name(to, step)?;
            Ok(Converted { bytes, step, n_tensors })
        }
    }
}

/// Rule 7: a checkpoint's name is its content.
fn check_name(to: &Path, step: Option<Step>) -> Result<(), ConvertError> {
    let name = to.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (Some(named), name) = (step_of(name), name.to_owned()) else { return Ok(()) };
    match step {
        Some(content) if content == named => Ok(()),
        Some(content) => Err(ConvertError::Step { name, named, content }),
        None => Err(ConvertError::Name { name }),
    }
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
    fn a_checkpoint_comes_back_to_the_byte() {
        let bytes = encode(&checkpoint_of(Step(200), 3));
        let npz = to_npz(&bytes);
        assert_eq!((npz.step, npz.n_tensors), (Some(Step(200)), 3));
        let expected = Converted { bytes, step: Some(Step(200)), n_tensors: 3 };
        assert_eq!(back(&npz.bytes, NAME).unwrap(), expected);
        assert_eq!(back(&npz.bytes, "any.safetensors").unwrap(), expected);
    }

    #[test]
    fn a_damaged_checkpoint_is_not_converted() {
        let mut bytes = encode(&checkpoint_of(Step(200), 3));
        *bytes.last_mut().unwrap() ^= 1;
        let error = convert(Format::Safetensors, &bytes, Path::new("x.npz")).unwrap_err();
        assert!(error.to_string().contains("it is corrupt"), "{error}");
    }

    #[test]
    fn a_name_that_is_not_the_content_is_refused() {
        let npz = to_npz(&encode(&checkpoint_of(Step(200), 3))).bytes;
        let mut contents = npz::decode(&npz).unwrap();
        contents.metadata.clear();
        let plain = npz::encode(&contents).unwrap();
        let errors =
            [back(&npz, "model.ckpt-300.safetensors"), back(&plain, "model.ckpt-200.safetensors")]
                .map(|result| result.unwrap_err().to_string())
                .join("\n");
        insta::assert_snapshot!(errors, @"
        it is the checkpoint of step 200, but model.ckpt-300.safetensors is the name of that of step 300; name it model.ckpt-200.safetensors
        model.ckpt-200.safetensors is the name of a checkpoint, and there are no settings of a run in this file that would make it one; choose another name, and give it to --init-from
        ");
        assert_eq!(back(&plain, "init.safetensors").unwrap().step, None);
    }

    #[test]
    fn tensors_that_do_not_fit_the_metadata_are_no_checkpoint() {
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
        it says that it is a checkpoint, and is not: its metadata makes no sense: there is no global_step beside it
        it says that it is a checkpoint, and is not: its metadata makes no sense: it says step 200, and global_step is 201
        it says that it is a checkpoint, and is not: its metadata makes no sense: global_step is not a scalar of type I64
        it says that it is a checkpoint, and is not: tensor layer1/biases is of type F64; only F32 can be read
        ");
    }
}
