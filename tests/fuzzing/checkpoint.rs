//! Fuzz targets for files in a logdir, which may be torn, damaged or written by another program.

use std::path::Path;

use super::directory::steps_of;
use super::file::{FileError, decode, encode, seal, tensors_in};
use super::state;
use unisono_core::ids::Step;

/// Decodes a checkpoint twice: with its own digest, and with a corrected digest. Reads any other
/// safetensors file as plain tensors.
pub fn checkpoint(bytes: &[u8]) -> bool {
    let mut resealed = bytes.to_vec();
    seal(&mut resealed);
    [bytes, &resealed].into_iter().any(one_checkpoint)
}

fn one_checkpoint(bytes: &[u8]) -> bool {
    let tensors = tensors_in(bytes);
    if let Ok(tensors) = &tensors {
        let n_values: usize = tensors.values().map(|tensor| tensor.values().len()).sum();
        assert!(4 * n_values <= bytes.len(), "{n_values} values in {} bytes", bytes.len());
    }
    // If the content is of another step than 0, its file name must have that step.
    let name = match decode(Step(0), bytes) {
        Err(FileError::Step { place: "metadata", content, .. }) => {
            Step(u64::try_from(content).expect("the metadata's step is a u64"))
        }
        _ => Step(0),
    };
    match decode(name, bytes) {
        Ok(checkpoint) => {
            assert_eq!(checkpoint.step, name);
            assert_eq!(tensors.expect("a checkpoint holds tensors"), checkpoint.tensors);
            let encoded = encode(&checkpoint);
            let again = decode(name, &encoded).expect("this is what it encodes itself");
            assert_eq!(again, checkpoint);
            assert_eq!(encode(&again), encoded);
            true
        }
        Err(error) => {
            let _ = error.to_string();
            tensors.is_ok()
        }
    }
}

/// Decodes TensorFlow's `checkpoint` file.
pub fn state(bytes: &[u8]) -> bool {
    match state::decode(bytes) {
        Ok(paths) => {
            assert!(!paths.is_empty(), "there is a latest");
            assert_eq!(state::decode(state::encode(&paths).as_bytes()).as_ref(), Ok(&paths));
            if let Ok(steps) = steps_of(Path::new("/logdir"), &paths) {
                assert_eq!(steps.len(), paths.len());
            }
            true
        }
        Err(error) => {
            let _ = error.to_string();
            false
        }
    }
}

#[cfg(test)]
use crate::corpus::Seed;

#[cfg(test)]
pub(crate) fn checkpoint_seeds() -> Vec<Seed> {
    use safetensors::tensor::{Dtype, TensorView};

    use super::Tensor;
    use crate::testing::checkpoint_of;

    let small = checkpoint_of(Step(200), 3);
    let mut odd = checkpoint_of(Step(0), u64::MAX);
    odd.tensors.insert("none".into(), Tensor::new(vec![0, 9], Vec::new().into()));
    odd.tensors.insert("scalar \u{e9}".into(), Tensor::new(vec![], vec![f32::NAN].into()));
    let mut empty = checkpoint_of(Step(i64::MAX as u64), 0);
    empty.tensors.clear();
    let foreign = TensorView::new(Dtype::F32, vec![2], &[0; 8]).expect("eight bytes");
    let foreign = safetensors::serialize([("a", foreign)], None).expect("one tensor");
    let bits = TensorView::new(Dtype::F64, vec![1], &[0; 8]).expect("eight bytes");
    let bits = safetensors::serialize([("a", bits)], None).expect("one tensor");
    vec![
        Seed::new("small", encode(&small)),
        Seed::new("odd", encode(&odd)),
        Seed::new("empty", encode(&empty)),
        Seed::new("foreign", foreign),
        Seed::new("refused-f64", bits),
    ]
}

#[cfg(test)]
pub(crate) fn state_seeds() -> Vec<Seed> {
    let paths = [100, 200, 300].map(|step| format!("model.ckpt-{step}.safetensors"));
    let odd = ["/logdir/model.ckpt-1.safetensors", "a\"b\\c\n\u{e9}'\u{1}"].map(str::to_owned);
    let of_tensorflow_2 = "# by hand\nmodel_checkpoint_path: \"model.ckpt-2\"\n\
        all_model_checkpoint_paths: 'model.ckpt-\\x31\\062' # both\n\
        all_model_checkpoint_timestamps: 1700000000.25\n";
    vec![
        Seed::new("three", state::encode(&paths)),
        Seed::new("odd", state::encode(&odd)),
        Seed::new("tensorflow-2", of_tensorflow_2),
        Seed::new("refused-torn", &state::encode(&paths).as_bytes()[..90]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;

    #[test]
    fn checkpoint_target_survives_the_corpus() {
        Corpus::of("checkpoint", checkpoint_seeds()).survives(checkpoint);
    }

    #[test]
    fn state_target_survives_the_corpus() {
        Corpus::of("state", state_seeds()).survives(state);
    }
}
