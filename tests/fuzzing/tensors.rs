//! Fuzz target for a file of tensors of any origin, in either format.

use std::path::Path;

use super::{NpzError, inspect, npz, safetensors};
use crate::tensor::{Contents, Format};

/// Inspects a file of tensors and converts it to the other format. Returns whether one of the
/// formats accepts the file.
pub fn tensors(bytes: &[u8]) -> bool {
    [Format::Safetensors, Format::Npz].into_iter().any(|format| one_file(format, bytes))
}

fn one_file(format: Format, bytes: &[u8]) -> bool {
    let seen = inspect(Path::new("any"), format, bytes);
    serde_json::to_string(&seen).expect("whatever is seen is JSON");
    let contents = match Contents::decode(format, bytes) {
        Ok(contents) => contents,
        Err(error) => {
            // A file may have several faults, and `inspect` and `decode` may report different ones.
            // So the target only checks that `inspect` reports a fault, too.
            let told = seen.damage.or(seen.unsupported);
            assert!(told.is_some(), "it cannot be read: {error}");
            return false;
        }
    };
    match npz::encode(&contents) {
        Ok(encoded) => assert_eq!(npz::decode(&encoded).expect("it was just encoded"), contents),
        Err(error) => assert!(matches!(error, NpzError::Type { .. } | NpzError::Zip(_))),
    }
    match safetensors::encode(&contents) {
        Ok((encoded, step)) => {
            let again = safetensors::decode(&encoded).expect("it was just encoded");
            assert_eq!(again.tensors, contents.tensors);
            // The further metadata of a checkpoint is dropped.
            assert!(step.is_some() || again.metadata == contents.metadata);
            assert_eq!(safetensors::encode(&again).expect("it is one").0, encoded);
        }
        Err(error) => assert!(contents.description().is_some(), "of no checkpoint: {error}"),
    }
    true
}

#[cfg(test)]
use crate::corpus::Seed;

#[cfg(test)]
pub(crate) fn tensors_seeds() -> Vec<Seed> {
    use super::Dtype;
    use crate::tensor::AnyTensor;
    use unisono_core::ids::Step;
    use unisono_files::checkpoint::file::encode;
    use unisono_files::testing::checkpoint_of;

    let checkpoint = encode(&checkpoint_of(Step(200), 3));
    let contents = safetensors::decode(&checkpoint).expect("it was just encoded");
    let as_npz = npz::encode(&contents).expect("numpy has its types");
    let of_any_types = Contents {
        metadata: [("k".to_owned(), "v \u{e9}".to_owned())].into(),
        tensors: [
            ("bytes", AnyTensor::new(Dtype::U8, &[3], b"xyz")),
            ("scalar \u{e9}", AnyTensor::new(Dtype::F64, &[], &2.5f64.to_le_bytes())),
            ("none", AnyTensor::new(Dtype::I16, &[0, 7], b"")),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into(),
    };
    let any_as_npz = npz::encode(&of_any_types).expect("numpy has its types");
    let torn = as_npz[..as_npz.len() / 2].to_vec();
    vec![
        Seed::new("checkpoint", checkpoint),
        Seed::new("checkpoint-as-npz", as_npz),
        Seed::new("any", safetensors::encode(&of_any_types).expect("it says nothing of a run").0),
        Seed::new("any-as-npz", any_as_npz),
        Seed::new("refused-torn-npz", torn),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;

    #[test]
    fn tensors_target_survives_the_corpus() {
        Corpus::of("tensors", tensors_seeds()).survives(tensors);
    }
}
