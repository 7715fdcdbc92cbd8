//! CIFAR-10's binary files: records of a label byte and 3,072 pixel bytes.
//!
//! A record has the 32 x 32 pixels of the red channel, then those of the green one, then those of
//! the blue one. The features of an example are in the order row, column, channel, as in
//! TensorFlow's images.

use std::path::Path;

use unisono_core::train_config::Portion;
use unisono_learn::data::{Dataset, DatasetError, LabelledBytes};

use crate::error::{read, unfit};

/// The files of the training examples, in the order in which they are read.
const TRAIN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
/// The file of the test examples.
const TEST: &str = "test_batch.bin";

const N_CHANNELS: usize = 3;
/// Pixels per channel.
const N_PIXELS: usize = 32 * 32;
const N_FEATURES: usize = N_CHANNELS * N_PIXELS;
const N_CLASSES: u8 = 10;

/// Returns whether a folder has the first of the files.
#[must_use]
pub fn is_in(folder: &Path) -> bool {
    folder.join(TRAIN[0]).is_file()
}

/// Loads the files of a folder. The first training examples are for validation: by default a tenth
/// of them, but at most 5,000.
///
/// # Errors
/// Returns an error if a file is missing or malformed, or if validation takes every training
/// example.
pub fn load(folder: &Path, validation: Option<Portion>) -> Result<Dataset, DatasetError> {
    let mut train = empty();
    for name in TRAIN {
        append(&mut train, &folder.join(name))?;
    }
    let mut test = empty();
    append(&mut test, &folder.join(TEST))?;
    Dataset::of_bytes(&folder.display().to_string(), train, test, validation)
}

fn empty() -> LabelledBytes {
    let shape = vec![32, 32, N_CHANNELS];
    LabelledBytes { content: Vec::new(), start: 0, shape, labels: Vec::new() }
}

fn append(examples: &mut LabelledBytes, path: &Path) -> Result<(), DatasetError> {
    let bytes = read(path)?;
    let (records, rest) = bytes.as_chunks::<{ 1 + N_FEATURES }>();
    if records.is_empty() || !rest.is_empty() {
        let what = format!(
            "it has {} bytes, which are not whole records of {} bytes: fetch or copy it again",
            bytes.len(),
            1 + N_FEATURES
        );
        return Err(unfit(path, what));
    }
    for (number, [label, pixels @ ..]) in records.iter().enumerate() {
        if *label >= N_CLASSES {
            let what = format!(
                "record {number} has the label {label}, but CIFAR-10 has the labels 0 to 9: fetch \
                 or copy it again"
            );
            return Err(unfit(path, what));
        }
        examples.labels.push(*label);
        let interleaved = (0..N_PIXELS)
            .flat_map(|pixel| (0..N_CHANNELS).map(move |channel| channel * N_PIXELS + pixel));
        examples.content.extend(interleaved.map(|place| pixels[place]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(label: u8, first: [u8; 3]) -> Vec<u8> {
        let mut bytes = vec![0; 1 + N_FEATURES];
        bytes[0] = label;
        for (channel, value) in first.into_iter().enumerate() {
            bytes[1 + channel * N_PIXELS] = value;
        }
        bytes
    }

    fn folder(test: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (number, name) in TRAIN.iter().enumerate() {
            let bytes = record(number as u8, [10, 20, number as u8]);
            std::fs::write(folder.path().join(name), bytes).expect("a writable folder");
        }
        std::fs::write(folder.path().join(TEST), test).expect("a writable folder");
        folder
    }

    #[test]
    fn channels_of_a_pixel_become_neighbouring_features() {
        let folder = folder(&record(9, [1, 2, 3]));
        let data = load(folder.path(), Some(1.into())).expect("good files");
        assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (4, 1, 1));
        assert_eq!((data.train.n_features(), data.train.n_classes()), (3072, 10));
        let bytes = |values: &[f32]| values.iter().map(|v| (v * 255.0).round()).collect::<Vec<_>>();
        let (columns, values) = data.train.row(2);
        assert_eq!((columns, bytes(&values)), (vec![0, 1, 2], vec![10.0, 20.0, 3.0]));
        assert_eq!(data.train.label(2), 3);
    }

    #[test]
    fn error_names_the_file_the_record_and_the_remedy() {
        let why = |test: &[u8]| {
            let folder = folder(test);
            let error = load(folder.path(), None).expect_err("a bad file").to_string();
            error.replace(&folder.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(why(&[0; 100]), @"DIR/test_batch.bin: it has 100 bytes, which are not whole records of 3073 bytes: fetch or copy it again");
        insta::assert_snapshot!(why(&record(10, [0; 3])), @"DIR/test_batch.bin: record 0 has the label 10, but CIFAR-10 has the labels 0 to 9: fetch or copy it again");
    }
}
