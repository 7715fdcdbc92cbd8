//! A data set as training uses it: training, validation and test examples.
//!
//! The division into these three parts is the same as in TensorFlow. This module does not shuffle
//! the examples. The module `order` decides which examples form a batch.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Examples;
use super::idx::{Images, parse_labels};
use super::idx_file::{FileError, IdxFile};
use super::pixels::PixelRows;
use unisono_core::train_config::Portion;
use unisono_files::sha256;

/// Names of the four files of a data set, without `.gz`. All data sets use MNIST's names.
pub const FILE_NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// Maximum of the default number of validation images for the data set of a directory. TensorFlow's
/// `read_data_sets` uses 5,000 images by default.
pub const VALIDATION_SIZE: usize = 5000;

/// If there are fewer than 50,000 training images, one in ten is used for validation by default. A
/// fixed number of 5,000 validation images would leave no training images in a small data set.
const VALIDATION_SHARE: usize = 10;

/// Default number of validation images for the embedded data set. The default for directories does
/// not apply to the embedded data set, because recorded results depend on this number.
pub const EMBEDDED_VALIDATION_SIZE: usize = 1000;

/// Training, validation and test examples with the same number of features and of classes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The examples for training, at least one. In a data set of files, these are the training
    /// images after the first `validation_size` images, in file order.
    pub train: Examples,
    /// The examples for validation. In a data set of files, these are the first `validation_size`
    /// training images.
    pub validation: Examples,
    /// The examples for testing. A data set of files has at least one of these examples.
    pub test: Examples,
    name: String,
    digest: String,
}

/// The reason why a data set cannot be loaded, or cannot be trained on.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// One of the four files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The files do not fit together, or a size in the configuration does not fit the data. The
    /// text has the numbers and a remedy.
    #[error("{0}")]
    Unfit(String),
}

impl Dataset {
    /// Loads the data set of a directory.
    ///
    /// Reads the files of [`FILE_NAMES`], each plain or as `….gz`. Images may have any shape.
    /// `validation_size` defaults to a tenth of the training images, but to at most
    /// [`VALIDATION_SIZE`].
    ///
    /// The number of classes is the largest label in either label file plus one: 10 for MNIST.
    ///
    /// # Errors
    /// If a file is missing or damaged, if the files do not fit together, or if validation takes
    /// every training image.
    pub fn load(dir: &Path, validation_size: Option<Portion>) -> Result<Self, DatasetError> {
        let [train_images, train_labels, test_images, test_labels] =
            FILE_NAMES.map(|name| IdxFile::read(dir, name));
        let files = [train_images?, train_labels?, test_images?, test_labels?];
        Self::from_files(files, &dir.display().to_string(), validation_size)
    }

    /// Returns the embedded subset of MNIST: 8,000 training, 1,000 validation and 1,000 test
    /// examples.
    #[must_use]
    pub fn embedded() -> Self {
        Self::open(None, None).expect("the embedded files fit together")
    }

    /// Opens the data set of a directory, or else the embedded subset.
    ///
    /// `validation_size` defaults to [`EMBEDDED_VALIDATION_SIZE`] for the embedded subset, and to
    /// the default of [`load`](Self::load) for a directory.
    ///
    /// # Errors
    /// Returns the errors of [`load`](Self::load). For the embedded subset, the only possible error
    /// is that validation takes every training image.
    pub fn open(
        dir: Option<&Path>,
        validation_size: Option<Portion>,
    ) -> Result<Self, DatasetError> {
        if let Some(dir) = dir {
            return Self::load(dir, validation_size);
        }
        let size = validation_size.unwrap_or(Portion::Count(EMBEDDED_VALIDATION_SIZE));
        Self::from_files(embedded_files(), "the embedded MNIST subset", Some(size))
    }

    fn from_files(
        [train_images, train_labels, test_images, test_labels]: [IdxFile; 4],
        name: &str,
        validation_size: Option<Portion>,
    ) -> Result<Self, DatasetError> {
        let paths = [train_images.path().to_owned(), test_images.path().to_owned()];
        let train = labelled(train_images, &train_labels)?;
        let test = labelled(test_images, &test_labels)?;
        if train.n_features() != test.n_features() {
            let [train_path, test_path] = paths.each_ref().map(|path| path.display());
            return Err(DatasetError::Unfit(format!(
                "{train_path} holds images of {} pixels, but {test_path} holds images of {} pixels; \
                 give files of one data set",
                train.n_features(),
                test.n_features()
            )));
        }
        Self::of_bytes(name, train, test, validation_size)
    }

    /// Returns a data set whose features are bytes, such as images. A byte b becomes the feature
    /// b · (1/255). The first examples of `train` are for validation: by default a tenth of them,
    /// but at most [`VALIDATION_SIZE`]. Errors refer to the data set by `name`.
    ///
    /// # Errors
    /// Returns an error if validation takes every training example.
    ///
    /// # Panics
    /// Panics if `train` or `test` has no examples, or if the two have different numbers of features.
    pub fn of_bytes(
        name: &str,
        train: LabelledBytes,
        test: LabelledBytes,
        validation_size: Option<Portion>,
    ) -> Result<Self, DatasetError> {
        assert_eq!(train.n_features(), test.n_features(), "features of the parts of {name}");
        assert!(!train.labels.is_empty() && !test.labels.is_empty(), "{name} has empty parts");
        let n_train = train.labels.len();
        let validation_size = validation_examples(name, n_train, validation_size)?;
        let n_classes = train.n_classes().max(test.n_classes());
        let digest = train.digest(validation_size, n_classes);
        let shape = train.shape.clone();
        let (train, train_labels) = train.into_rows();
        let (test, test_labels) = test.into_rows();
        let examples = |rows: &Arc<PixelRows>, images: Range<usize>, labels: &[u8]| {
            let rows = Arc::clone(rows);
            Examples::of_pixels(rows, images.clone(), &labels[images], n_classes).with_shape(&shape)
        };
        Ok(Self {
            train: examples(&train, validation_size..n_train, &train_labels),
            validation: examples(&train, 0..validation_size, &train_labels),
            test: examples(&test, 0..test_labels.len(), &test_labels),
            name: name.to_owned(),
            digest,
        })
    }

    /// Returns a data set of examples that the caller provides. Errors refer to the data set by
    /// `name`.
    ///
    /// # Panics
    /// If `train` is empty, or if the parts differ in their number of features or classes.
    #[must_use]
    pub fn of_examples(name: &str, train: Examples, validation: Examples, test: Examples) -> Self {
        assert!(!train.is_empty(), "there are no examples to train on");
        for part in [&validation, &test] {
            let sizes = |examples: &Examples| (examples.n_features(), examples.n_classes());
            assert_eq!(sizes(part), sizes(&train), "features and classes of a part of {name}");
        }
        let digest = digest_of_examples(&train);
        Self { train, validation, test, name: name.to_owned(), digest }
    }

    /// Returns a data set of examples that the caller provides. The first examples of `train` are
    /// for validation: by default a tenth of them, but at most [`VALIDATION_SIZE`].
    ///
    /// # Errors
    /// Returns an error if validation takes every training example.
    ///
    /// # Panics
    /// Panics if the parts differ in their number of features or classes.
    pub fn divided(
        name: &str,
        train: Examples,
        test: Examples,
        validation_size: Option<Portion>,
    ) -> Result<Self, DatasetError> {
        let n_validation = validation_examples(name, train.len(), validation_size)?;
        let (validation, train) = train.split_at(n_validation);
        Ok(Self::of_examples(name, train, validation, test))
    }

    /// Returns the data set with standardized features: (x − mean) / deviation, where the mean and the
    /// standard deviation are those of the training examples. A feature that is the same in all
    /// training examples becomes 0.
    ///
    /// The sums are chains in f64, in the order of the examples. The variance is the mean of the
    /// squared differences from the mean. The result is rounded to f32 once.
    #[must_use]
    pub fn standardized(self) -> Self {
        let n = self.train.len() as f64;
        let mut means = vec![0.0; self.train.n_features()];
        let mut features = vec![0.0; means.len()];
        for row in 0..self.train.len() {
            self.train.read_row(row, &mut features);
            means.iter_mut().zip(&features).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        means.iter_mut().for_each(|sum| *sum /= n);
        let mut deviations = vec![0.0; means.len()];
        for row in 0..self.train.len() {
            self.train.read_row(row, &mut features);
            for ((sum, &x), mean) in deviations.iter_mut().zip(&features).zip(&means) {
                let difference = f64::from(x) - mean;
                *sum += difference * difference;
            }
        }
        deviations.iter_mut().for_each(|sum| *sum = (*sum / n).sqrt());
        let mut scaled = |examples: &Examples| {
            let scaled = Examples::new(examples.n_features(), examples.n_classes());
            let mut scaled = scaled.with_shape(examples.shape());
            for row in 0..examples.len() {
                examples.read_row(row, &mut features);
                let values = features.iter().copied().zip(means.iter().zip(&deviations));
                let value = |(x, (mean, deviation)): (f32, (&f64, &f64))| {
                    if *deviation > 0.0 { ((f64::from(x) - mean) / deviation) as f32 } else { 0.0 }
                };
                scaled.push(values.map(value), examples.label(row));
            }
            scaled
        };
        let [train, validation, test] =
            [&self.train, &self.validation, &self.test].map(&mut scaled);
        Self::of_examples(&self.name, train, validation, test)
    }

    /// Returns the data set with a digest of the shape of its examples, too. A network of layers
    /// computes other numbers for images of another height and width, although the features are the
    /// same.
    ///
    /// The digest is the SHA-256 of `unisono shaped data 1` and a line feed, the digest without the
    /// shape, and the dimensions, each a little-endian `u64`.
    #[must_use]
    pub fn identified_by_shape(self) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"unisono shaped data 1\n");
        hasher.update(&self.digest);
        for size in self.train.shape() {
            hasher.update((*size as u64).to_le_bytes());
        }
        Self { digest: sha256::hex(hasher), ..self }
    }

    /// Returns the name by which errors refer to this data set: the path of its folder, or a
    /// description.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a digest of everything in the data that affects training: 64 hexadecimal digits.
    ///
    /// Two data sets of the same kind (of IDX files, or of [`Self::of_examples`]) have the same
    /// digest if and only if they have the same training examples, in the same order, and the same
    /// number of classes. All other properties affect neither the losses of a multilayer perceptron
    /// nor the digest: the compression, the height and width of images with the same number of
    /// pixels, and the validation and test examples. [`Self::identified_by_shape`] adds the height
    /// and the width.
    ///
    /// The digest of a data set of IDX files is the SHA-256 of these bytes:
    /// - `unisono training data 1` and a line feed;
    /// - the numbers of training examples, features and classes, each a little-endian `u64`;
    /// - all pixels of the training images, one byte each;
    /// - all labels of the training images, one byte each.
    ///
    /// The digest of a data set of [`Self::of_examples`] is the SHA-256 of these bytes:
    /// - `unisono examples 1` and a line feed;
    /// - the numbers of training examples, features and classes, each a little-endian `u64`;
    /// - for each training example, as little-endian 32-bit words: the label, the number of
    ///   non-zero features, the columns of these features, and the bits of their values.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Checks that a batch is neither empty nor larger than an epoch.
    ///
    /// # Errors
    /// [`DatasetError::Unfit`] if the batch size is out of range.
    pub fn check_batch_size(&self, batch_size: usize) -> Result<(), DatasetError> {
        let n_train = self.train.len();
        if (1..=n_train).contains(&batch_size) {
            return Ok(());
        }
        Err(DatasetError::Unfit(format!(
            "a batch size of {batch_size} does not fit the {n_train} training examples of {}; choose \
             one from 1 to {n_train}",
            self.name
        )))
    }
}

/// Returns the number of training examples that are used for validation.
fn validation_examples(
    name: &str,
    n_train: usize,
    size: Option<Portion>,
) -> Result<usize, DatasetError> {
    let default = (n_train / VALIDATION_SHARE).min(VALIDATION_SIZE);
    let n_validation = size.map_or(default, |size| size.of(n_train));
    if n_validation < n_train {
        return Ok(n_validation);
    }
    Err(DatasetError::Unfit(format!(
        "a validation size of {n_validation} leaves nothing to train on: {name} has {n_train} \
         training images; choose a validation size below {n_train}"
    )))
}

fn digest_of_examples(train: &Examples) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"unisono examples 1\n");
    for number in [train.len(), train.n_features(), train.n_classes()] {
        hasher.update((number as u64).to_le_bytes());
    }
    for row in 0..train.len() {
        let (columns, values) = train.row(row);
        hasher.update(train.label(row).to_le_bytes());
        hasher.update((columns.len() as u32).to_le_bytes());
        columns.iter().for_each(|column| hasher.update(column.to_le_bytes()));
        values.iter().for_each(|value| hasher.update(value.to_bits().to_le_bytes()));
    }
    sha256::hex(hasher)
}

/// Returns the files of the embedded subset, in the order of [`FILE_NAMES`].
fn embedded_files() -> [IdxFile; 4] {
    macro_rules! fixture {
        ($name:literal) => {
            IdxFile::embedded($name, include_bytes!(concat!("../../../fixtures/mnist/", $name)))
        };
    }
    [
        fixture!("train-images-idx3-ubyte.gz"),
        fixture!("train-labels-idx1-ubyte.gz"),
        fixture!("t10k-images-idx3-ubyte.gz"),
        fixture!("t10k-labels-idx1-ubyte.gz"),
    ]
}

/// Reads the images and the labels of two files.
fn labelled(images_file: IdxFile, labels_file: &IdxFile) -> Result<LabelledBytes, DatasetError> {
    let images = images_file.parse(Images::parse)?;
    let labels = labels_file.parse(parse_labels)?;
    let n_images = images.len();
    if n_images != labels.len() {
        return Err(DatasetError::Unfit(format!(
            "{} holds {n_images} images, but {} holds {} labels; give files that belong together",
            images_file.path().display(),
            labels_file.path().display(),
            labels.len()
        )));
    }
    let (shape, n_pixels) = (images.shape_of_each(), n_images * images.n_pixels_each());
    let content = images_file.into_content();
    // The pixels are the last bytes of the file.
    let start = content.len() - n_pixels;
    Ok(LabelledBytes { content, start, shape, labels: labels.to_vec() })
}

/// Examples whose features are bytes, such as images.
#[derive(Clone, Debug)]
pub struct LabelledBytes {
    /// The features, one example after the other, from byte `start` on.
    pub content: Vec<u8>,
    /// The offset of the first example in `content`.
    pub start: usize,
    /// The dimensions of each example.
    pub shape: Vec<usize>,
    /// The label of each example. Their number is the number of examples.
    pub labels: Vec<u8>,
}

impl LabelledBytes {
    /// Returns the number of features of each example.
    fn n_features(&self) -> usize {
        self.shape.iter().product()
    }

    fn n_classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| usize::from(label) + 1)
    }

    /// Returns the digest of these examples without the first `n` ones.
    fn digest(&self, n: usize, n_classes: usize) -> String {
        let labels = &self.labels[n..];
        let mut hasher = Sha256::new();
        hasher.update(b"unisono training data 1\n");
        let n_features = self.n_features();
        for number in [labels.len(), n_features, n_classes] {
            hasher.update((number as u64).to_le_bytes());
        }
        let end = self.start + self.labels.len() * n_features;
        hasher.update(&self.content[self.start + n * n_features..end]);
        hasher.update(labels);
        sha256::hex(hasher)
    }

    /// Converts the features to the form from which training reads, within the same buffer.
    fn into_rows(self) -> (Arc<PixelRows>, Vec<u8>) {
        let n_features = self.n_features();
        let rows = PixelRows::new(self.content, self.start, self.labels.len(), n_features);
        (Arc::new(rows), self.labels)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::data::idx::tests::idx;
    use crate::data::idx_file::tests::gzip;
    use crate::data::pixels::PIXEL_SCALE;

    /// Writes 5 training and 2 test images of 2 x 3 pixels. Pixel j of training image i is
    /// 6i + j. Training label i is i. The test labels are 1 and `last_label`.
    fn small_set(last_label: u8) -> TempDir {
        let pixels: Vec<u8> = (0..30).collect();
        let dir = tempfile::tempdir().expect("a temporary directory");
        write(&dir, "train-images-idx3-ubyte", &idx(&[5, 2, 3], &pixels));
        write(&dir, "train-labels-idx1-ubyte", &idx(&[5], &[0, 1, 2, 3, 4]));
        write(&dir, "t10k-images-idx3-ubyte", &idx(&[2, 2, 3], &pixels[..12]));
        write(&dir, "t10k-labels-idx1-ubyte", &idx(&[2], &[1, last_label]));
        dir
    }

    fn write(dir: &TempDir, name: &str, content: &[u8]) {
        fs::write(dir.path().join(name), content).expect("a writable directory");
    }

    fn load(dir: &TempDir, validation_size: usize) -> Dataset {
        Dataset::load(dir.path(), Some(validation_size.into())).expect("a good data set")
    }

    fn load_error(dir: &TempDir, validation_size: Option<usize>) -> String {
        let size = validation_size.map(Portion::Count);
        let error = Dataset::load(dir.path(), size).expect_err("a bad data set");
        error.to_string().replace(dir.path().to_str().expect("UTF-8"), "DIR")
    }

    #[test]
    fn pixel_is_its_byte_times_the_f32_reciprocal_of_255() {
        // The bits of np.float32(1.0 / 255.0).
        assert_eq!(PIXEL_SCALE.to_bits(), 0x3b80_8081);
        // For byte 3, division and multiplication give different values.
        assert_ne!(3.0 * PIXEL_SCALE, 3.0 / 255.0);
        let data = load(&small_set(1), 0);
        let (columns, values) = data.train.row(0);
        assert_eq!(columns, [1, 2, 3, 4, 5]);
        let wanted = [1.0, 2.0, 3.0, 4.0, 5.0].map(|byte: f32| byte * PIXEL_SCALE);
        assert_eq!(values, wanted);
    }

    #[test]
    fn first_training_images_are_validation_and_nothing_is_shuffled() {
        let data = load(&small_set(1), 2);
        let labels = |part: &Examples| (0..part.len()).map(|i| part.label(i)).collect::<Vec<_>>();
        assert_eq!(labels(&data.validation), [0, 1]);
        assert_eq!(labels(&data.train), [2, 3, 4]);
        assert_eq!(labels(&data.test), [1, 1]);
        assert_eq!(data.train.row(0).1[0], 12.0 * PIXEL_SCALE);
        assert_eq!(load(&small_set(1), 0).validation.len(), 0);
    }

    #[test]
    fn largest_label_of_both_files_gives_the_number_of_classes() {
        for (last_label, n_classes) in [(1, 5), (6, 7), (255, 256)] {
            let data = load(&small_set(last_label), 2);
            for part in [&data.train, &data.validation, &data.test] {
                assert_eq!((part.n_classes(), part.n_features()), (n_classes, 6));
            }
        }
    }

    #[test]
    fn embedded_subset_is_mnist() {
        let data = Dataset::embedded();
        let sizes = [&data.train, &data.validation, &data.test].map(|part| {
            assert_eq!((part.n_features(), part.n_classes()), (784, 10));
            part.len()
        });
        assert_eq!(sizes, [8000, 1000, 1000]);
        // MNIST's training set begins with 5 0 4 1 9, its test set with 7 2 1 0 4.
        let first = |part: &Examples| [0, 1, 2, 3, 4].map(|row| part.label(row));
        assert_eq!(first(&data.validation), [5, 0, 4, 1, 9]);
        assert_eq!(first(&data.test), [7, 2, 1, 0, 4]);
        let n_nonzero: usize = (0..8000).map(|row| data.train.row(row).0.len()).sum();
        let share = n_nonzero as f64 / (8000.0 * 784.0);
        assert!((0.18..0.20).contains(&share), "{share} of the pixels are not zero");
    }

    #[test]
    fn digest_is_the_sha256_that_its_doc_comment_defines() {
        // Both digests were computed in Python. The first is sha256(b"unisono training data 1\n"
        //     + pack("<3Q", 2, 6, 5) + bytes(range(18, 30)) + bytes([3, 4])).
        assert_eq!(
            load(&small_set(1), 3).digest(),
            "09d9287f89d20ae273a252952f7aad42b57ff3cd59d8bafa42a30f688e315fd4"
        );
        assert_eq!(
            Dataset::embedded().digest(),
            "3a5874144a835a5cc5c934a5d12206b668034cbce416b7a387b1a349fc8d72aa"
        );
    }

    #[test]
    fn digest_changes_with_every_byte_that_training_sees() {
        let digest = |change: &dyn Fn(&TempDir), validation_size| {
            let dir = small_set(1);
            change(&dir);
            load(&dir, validation_size).digest().to_owned()
        };
        let base = digest(&|_| {}, 2);
        let changes: [&dyn Fn(&TempDir); 3] = [
            &|dir| {
                let mut pixels: Vec<u8> = (0..30).collect();
                pixels[29] ^= 1;
                write(dir, "train-images-idx3-ubyte", &idx(&[5, 2, 3], &pixels));
            },
            &|dir| write(dir, "train-labels-idx1-ubyte", &idx(&[5], &[0, 1, 4, 3, 4])),
            // A test label of 5 adds a sixth class.
            &|dir| write(dir, "t10k-labels-idx1-ubyte", &idx(&[2], &[1, 5])),
        ];
        for (i, change) in changes.iter().enumerate() {
            assert_ne!(digest(change, 2), base, "change {i}");
        }
        assert_ne!(digest(&|_| {}, 1), base, "another split has different training data");
    }

    #[test]
    fn digest_does_not_depend_on_compression_or_the_test_images() {
        let base = load(&small_set(1), 2).digest().to_owned();
        let dir = small_set(1);
        for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
            let content = fs::read(dir.path().join(name)).expect("it was written");
            write(&dir, name, &gzip(&content));
        }
        write(&dir, "t10k-images-idx3-ubyte", &idx(&[2, 6], &[9; 12]));
        assert_eq!(load(&dir, 2).digest(), base);
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused() {
        let dir = small_set(1);
        write(&dir, "train-labels-idx1-ubyte", &idx(&[4], &[0, 1, 2, 3]));
        assert_eq!(
            load_error(&dir, Some(1)),
            "DIR/train-images-idx3-ubyte holds 5 images, but DIR/train-labels-idx1-ubyte holds \
             4 labels; give files that belong together"
        );
        let dir = small_set(1);
        write(&dir, "t10k-images-idx3-ubyte", &idx(&[2, 2, 2], &[0; 8]));
        assert_eq!(
            load_error(&dir, Some(1)),
            "DIR/train-images-idx3-ubyte holds images of 6 pixels, but \
             DIR/t10k-images-idx3-ubyte holds images of 4 pixels; give files of one data set"
        );
        let dir = small_set(1);
        write(&dir, "train-labels-idx1-ubyte", &idx(&[5, 1], &[0; 5]));
        assert_eq!(
            load_error(&dir, Some(1)),
            "DIR/train-labels-idx1-ubyte: has the shape 5 x 1, but labels have exactly 1 \
             dimension; give the file of the labels"
        );
    }

    #[test]
    fn digest_of_own_examples_depends_on_every_bit() {
        let examples = |pixels: [f32; 2], label| {
            let mut examples = Examples::new(2, 3);
            examples.push(pixels, label);
            examples
        };
        let digest = |train: Examples| {
            let none = || Examples::new(2, 3);
            Dataset::of_examples("mine", train, none(), none()).digest().to_owned()
        };
        let base = digest(examples([0.0, 0.5], 1));
        assert_eq!(base, digest(examples([0.0, 0.5], 1)));
        let others = [([0.5, 0.0], 1), ([0.0, 0.5f32.next_up()], 1), ([0.0, 0.5], 2)];
        for (pixels, label) in others {
            assert_ne!(digest(examples(pixels, label)), base, "{pixels:?} {label}");
        }
    }

    #[test]
    fn validation_size_that_leaves_nothing_to_train_on_is_refused() {
        assert_eq!(load(&small_set(1), 4).train.len(), 1);
        for size in [5, usize::MAX] {
            let wanted = format!(
                "a validation size of {size} leaves nothing to train on: DIR has 5 training \
                 images; choose a validation size below 5"
            );
            assert_eq!(load_error(&small_set(1), Some(size)), wanted);
        }
        assert!(Dataset::open(None, Some(9000.into())).is_err());
    }

    /// Returns the default numbers of training and validation examples for `n` images.
    fn default_split_of(n: u32) -> (usize, usize) {
        let dir = small_set(1);
        let size = n as usize;
        write(&dir, "train-images-idx3-ubyte", &idx(&[n, 1, 1], &vec![7; size]));
        write(&dir, "train-labels-idx1-ubyte", &idx(&[n], &vec![1; size]));
        write(&dir, "t10k-images-idx3-ubyte", &idx(&[2, 1, 1], &[7, 7]));
        let data = Dataset::load(dir.path(), None).expect("a good data set");
        (data.train.len(), data.validation.len())
    }

    #[test]
    fn default_validation_size_is_a_tenth_and_at_most_5_000_images() {
        for (n_images, validation) in
            [(1, 0), (9, 0), (10, 1), (300, 30), (49_999, 4999), (50_000, 5000), (60_000, 5000)]
        {
            let split = (n_images as usize - validation, validation);
            assert_eq!(default_split_of(n_images), split, "{n_images} images");
        }
    }

    #[test]
    fn empty_batch_or_batch_larger_than_an_epoch_is_refused() {
        let data = Dataset::open(None, Some(8900.into())).expect("100 are left");
        assert!(data.check_batch_size(1).is_ok());
        assert!(data.check_batch_size(100).is_ok());
        assert!(data.check_batch_size(0).is_err());
        assert_eq!(
            data.check_batch_size(101).expect_err("one too many").to_string(),
            "a batch size of 101 does not fit the 100 training examples of the embedded MNIST \
             subset; choose one from 1 to 100"
        );
    }
}
