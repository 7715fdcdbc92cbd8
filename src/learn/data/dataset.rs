//! A data set as training sees it: training, validation and test examples.
//!
//! The split is TensorFlow's, and nothing is shuffled here; the order of the batches is `order`'s.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Examples;
use super::idx::{Images, parse_labels};
use super::idx_file::{FileError, IdxFile};
use super::pixels::PixelRows;
use unisono_files::sha256;

/// What the four files of a data set are called, MNIST's or any other's; each plain or `….gz`.
pub const FILE_NAMES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The most images taken off a directory's training set for validation, unless told otherwise; as
/// TensorFlow's `read_data_sets`.
pub const VALIDATION_SIZE: usize = 5000;

/// A smaller set gives the same share as a set of 50,000 images: a tenth.
const VALIDATION_SHARE: usize = 10;

/// Images taken off the embedded training set for validation, unless told otherwise. The embedded
/// subset is one fixed set with one fixed split, so the rule for directories does not apply to it.
pub const EMBEDDED_VALIDATION_SIZE: usize = 1000;

/// Training, validation and test examples, of one number of features and of classes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The training images from number `validation_size` on, in file order; at least one.
    pub train: Examples,
    /// The first `validation_size` training images.
    pub validation: Examples,
    /// The test images; at least one.
    pub test: Examples,
    name: String,
    digest: String,
}

/// Where a data set comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The subset of MNIST that is compiled in (`fixtures/mnist`): the first 9,000 training and
    /// the first 1,000 test images.
    Embedded,
    /// A directory with the four IDX files, under MNIST's names, plain or gzip.
    Directory(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the embedded MNIST subset"),
            Self::Directory(dir) => dir.display().fmt(f),
        }
    }
}

/// Why there is no data set, or not one to train on.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// One of the four files.
    #[error(transparent)]
    File(#[from] FileError),
    /// An image file and its label file do not belong together.
    #[error(
        "{} holds {n_images} images, but {} holds {n_labels} labels; give files that belong \
         together", images.display(), labels.display()
    )]
    Lengths {
        /// The image file.
        images: PathBuf,
        /// Images in it.
        n_images: usize,
        /// The label file.
        labels: PathBuf,
        /// Labels in it.
        n_labels: usize,
    },
    /// The image files do not belong together.
    #[error(
        "{} holds images of {train_pixels} pixels, but {} of {test_pixels}; give files of one \
         data set", train.display(), test.display()
    )]
    ImageSizes {
        /// The training image file.
        train: PathBuf,
        /// Pixels an image in it.
        train_pixels: usize,
        /// The test image file.
        test: PathBuf,
        /// Pixels an image in it.
        test_pixels: usize,
    },
    /// Validation takes every training image.
    #[error(
        "a validation size of {validation_size} leaves nothing to train on of the {n_images} \
         training images of {data}; choose one below {n_images}"
    )]
    ValidationSize {
        /// The data set.
        data: String,
        /// Images for validation.
        validation_size: usize,
        /// Images there are.
        n_images: usize,
    },
    /// A batch is empty, or larger than an epoch.
    #[error(
        "a batch size of {batch_size} does not fit the {n_train} training examples of {data}; \
         choose one from 1 to {n_train}"
    )]
    BatchSize {
        /// The data set.
        data: String,
        /// Examples a batch.
        batch_size: usize,
        /// Training examples there are.
        n_train: usize,
    },
}

impl Dataset {
    /// The data set of a directory; unless given, `validation_size` is a tenth of the training
    /// images, and at most [`VALIDATION_SIZE`].
    ///
    /// Reads the files of [`FILE_NAMES`], each plain or as `….gz`. Images may have any shape.
    ///
    /// The number of classes is the largest label in either label file plus one: 10 for MNIST,
    /// and whatever the files hold for other sets.
    ///
    /// # Errors
    /// If a file is missing or damaged, if the files do not fit together, or if no training image
    /// is left after validation has taken its own.
    pub fn load(dir: &Path, validation_size: Option<usize>) -> Result<Self, DatasetError> {
        let [train_images, train_labels, test_images, test_labels] = FILE_NAMES;
        let files = Files {
            train_images: IdxFile::read(dir, train_images)?,
            train_labels: IdxFile::read(dir, train_labels)?,
            test_images: IdxFile::read(dir, test_images)?,
            test_labels: IdxFile::read(dir, test_labels)?,
        };
        let source = Source::Directory(dir.to_owned());
        Self::from_files(files, source, validation_size, default_validation_size)
    }

    /// The embedded subset of MNIST: 8,000 training, 1,000 validation and 1,000 test examples.
    #[must_use]
    pub fn embedded() -> Self {
        Self::open(&Source::Embedded, None).expect("the embedded files fit together")
    }

    /// The data set of `source`, with `validation_size` images for validation or, unless given,
    /// the source's own number.
    ///
    /// # Errors
    /// As [`load`](Self::load); with the embedded subset, only for the validation size.
    pub fn open(source: &Source, validation_size: Option<usize>) -> Result<Self, DatasetError> {
        match source {
            Source::Directory(dir) => Self::load(dir, validation_size),
            Source::Embedded => {
                let default = |_| EMBEDDED_VALIDATION_SIZE;
                Self::from_files(Files::embedded(), Source::Embedded, validation_size, default)
            }
        }
    }

    fn from_files(
        files: Files,
        source: Source,
        validation_size: Option<usize>,
        default_validation_size: impl Fn(usize) -> usize,
    ) -> Result<Self, DatasetError> {
        let train = Part::parse(&files.train_images, &files.train_labels)?;
        let test = Part::parse(&files.test_images, &files.test_labels)?;
        let (train_pixels, test_pixels) =
            (train.images.n_pixels_each(), test.images.n_pixels_each());
        if train_pixels != test_pixels {
            return Err(DatasetError::ImageSizes {
                train: files.train_images.path().to_owned(),
                train_pixels,
                test: files.test_images.path().to_owned(),
                test_pixels,
            });
        }
        let n_images = train.labels.len();
        let validation_size = validation_size.unwrap_or_else(|| default_validation_size(n_images));
        if validation_size >= n_images {
            let data = source.to_string();
            return Err(DatasetError::ValidationSize { data, validation_size, n_images });
        }
        let n_classes = train.n_classes().max(test.n_classes());
        let digest = train.from(validation_size).digest(n_classes);
        let train_labels = files.train_labels.parse(parse_labels)?;
        let test_labels = files.test_labels.parse(parse_labels)?;
        let train = Arc::new(pixel_rows(files.train_images)?);
        let test = Arc::new(pixel_rows(files.test_images)?);
        let examples = |rows: &Arc<PixelRows>, images: Range<usize>, labels: &[u8]| {
            Examples::of_pixels(Arc::clone(rows), images.clone(), &labels[images], n_classes)
        };
        Ok(Self {
            train: examples(&train, validation_size..n_images, train_labels),
            validation: examples(&train, 0..validation_size, train_labels),
            test: examples(&test, 0..test_labels.len(), test_labels),
            name: source.to_string(),
            digest,
        })
    }

    /// Examples of one's own, under a name that errors can tell it by.
    ///
    /// # Panics
    /// If there is nothing to train on, or the parts have not the same numbers of features and
    /// classes.
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

    /// What errors call it: its folder, or what it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of all that training sees: 64 hexadecimal digits. Two data sets have the same one
    /// if and only if their training examples are the same, in the same order, of the same
    /// number of classes. Compression, the shape of an image (as against its number of pixels),
    /// the validation and the test examples do not change it, as they do not change a loss.
    ///
    /// SHA-256 of: `unisono training data 1` and a line feed; the numbers of examples, of
    /// features and of classes, 64 bits each, little-endian; all pixels, as bytes; all labels. Of
    /// [`Self::of_examples`]: `unisono examples 1` and a line feed; the same numbers; of each
    /// example its label, how many features are not zero, and of these the columns and the bits of
    /// the values, 32 bits each, little-endian.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Checks that a batch is neither empty nor larger than an epoch.
    ///
    /// # Errors
    /// If it is.
    pub fn check_batch_size(&self, batch_size: usize) -> Result<(), DatasetError> {
        let n_train = self.train.len();
        if (1..=n_train).contains(&batch_size) {
            return Ok(());
        }
        Err(DatasetError::BatchSize { data: self.name.clone(), batch_size, n_train })
    }
}

fn default_validation_size(n_images: usize) -> usize {
    (n_images / VALIDATION_SHARE).min(VALIDATION_SIZE)
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

/// The four files of a data set.
struct Files {
    train_images: IdxFile,
    train_labels: IdxFile,
    test_images: IdxFile,
    test_labels: IdxFile,
}

impl Files {
    fn embedded() -> Self {
        macro_rules! fixture {
            ($name:literal) => {
                IdxFile::embedded($name, include_bytes!(concat!("../../../fixtures/mnist/", $name)))
            };
        }
        Self {
            train_images: fixture!("train-images-idx3-ubyte.gz"),
            train_labels: fixture!("train-labels-idx1-ubyte.gz"),
            test_images: fixture!("t10k-images-idx3-ubyte.gz"),
            test_labels: fixture!("t10k-labels-idx1-ubyte.gz"),
        }
    }
}

/// The images of a file, to be read again and again.
fn pixel_rows(file: IdxFile) -> Result<PixelRows, FileError> {
    let images = file.parse(Images::parse)?;
    let (n_images, n_features) = (images.len(), images.n_pixels_each());
    let content = file.into_content();
    let start = content.len() - n_images * n_features;
    Ok(PixelRows::new(content, start, n_images, n_features))
}

/// Images and as many labels, as bytes.
#[derive(Clone, Copy)]
struct Part<'a> {
    images: Images<'a>,
    labels: &'a [u8],
}

impl<'a> Part<'a> {
    fn parse(images_file: &'a IdxFile, labels_file: &'a IdxFile) -> Result<Self, DatasetError> {
        let images = images_file.parse(Images::parse)?;
        let labels = labels_file.parse(parse_labels)?;
        if images.len() != labels.len() {
            return Err(DatasetError::Lengths {
                images: images_file.path().to_owned(),
                n_images: images.len(),
                labels: labels_file.path().to_owned(),
                n_labels: labels.len(),
            });
        }
        Ok(Self { images, labels })
    }

    /// Its examples from number `first` on.
    fn from(self, first: usize) -> Self {
        Self { images: self.images.split_at(first).1, labels: &self.labels[first..] }
    }

    fn n_classes(self) -> usize {
        self.labels.iter().max().map_or(0, |&label| usize::from(label) + 1)
    }

    fn digest(self, n_classes: usize) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"unisono training data 1\n");
        for number in [self.images.len(), self.images.n_pixels_each(), n_classes] {
            hasher.update((number as u64).to_le_bytes());
        }
        hasher.update(self.images.pixels());
        hasher.update(self.labels);
        sha256::hex(hasher)
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

    /// A directory with 5 training and 2 test images of 2 x 3 pixels; pixel j of training image
    /// i is 6i + j, label i is i; the test labels are 1 and `last_label`.
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
        Dataset::load(dir.path(), Some(validation_size)).expect("a good data set")
    }

    fn load_error(dir: &TempDir, validation_size: Option<usize>) -> String {
        let error = Dataset::load(dir.path(), validation_size).expect_err("a bad data set");
        error.to_string().replace(dir.path().to_str().expect("UTF-8"), "DIR")
    }

    #[test]
    fn a_pixel_is_its_byte_times_the_32_bit_reciprocal_of_255() {
        // np.float32(1.0 / 255.0), and a pixel for which division gives another value.
        assert_eq!(PIXEL_SCALE.to_bits(), 0x3b80_8081);
        assert_ne!(3.0 * PIXEL_SCALE, 3.0 / 255.0);
        let data = load(&small_set(1), 0);
        let (columns, values) = data.train.row(0);
        assert_eq!(columns, [1, 2, 3, 4, 5]);
        let wanted = [1.0, 2.0, 3.0, 4.0, 5.0].map(|byte: f32| byte * PIXEL_SCALE);
        assert_eq!(values, wanted);
    }

    #[test]
    fn the_first_training_images_are_validation_and_nothing_is_shuffled() {
        let data = load(&small_set(1), 2);
        let labels = |part: &Examples| (0..part.len()).map(|i| part.label(i)).collect::<Vec<_>>();
        assert_eq!(labels(&data.validation), [0, 1]);
        assert_eq!(labels(&data.train), [2, 3, 4]);
        assert_eq!(labels(&data.test), [1, 1]);
        assert_eq!(data.train.row(0).1[0], 12.0 * PIXEL_SCALE);
        assert_eq!(load(&small_set(1), 0).validation.len(), 0);
    }

    #[test]
    fn the_largest_label_of_both_files_gives_the_number_of_classes() {
        for (last_label, n_classes) in [(1, 5), (6, 7), (255, 256)] {
            let data = load(&small_set(last_label), 2);
            for part in [&data.train, &data.validation, &data.test] {
                assert_eq!((part.n_classes(), part.n_features()), (n_classes, 6));
            }
        }
    }

    #[test]
    fn the_embedded_subset_is_mnist() {
        let data = Dataset::embedded();
        let sizes = [&data.train, &data.validation, &data.test].map(|part| {
            assert_eq!((part.n_features(), part.n_classes()), (784, 10));
            part.len()
        });
        assert_eq!(sizes, [8000, 1000, 1000]);
        // The famous first digits: 5 0 4 1 9 to train, 7 2 1 0 4 to test.
        let first = |part: &Examples| [0, 1, 2, 3, 4].map(|row| part.label(row));
        assert_eq!(first(&data.validation), [5, 0, 4, 1, 9]);
        assert_eq!(first(&data.test), [7, 2, 1, 0, 4]);
        let n_nonzero: usize = (0..8000).map(|row| data.train.row(row).0.len()).sum();
        let share = n_nonzero as f64 / (8000.0 * 784.0);
        assert!((0.18..0.20).contains(&share), "{share} of the pixels are not zero");
    }

    #[test]
    fn the_digest_is_of_what_its_docstring_says() {
        // Python: sha256(b"unisono training data 1\n" + pack("<3Q", 2, 6, 5)
        //                + bytes(range(18, 30)) + bytes([3, 4])), and likewise for the subset.
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
    fn the_digest_changes_with_every_byte_that_training_sees() {
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
            // One class more.
            &|dir| write(dir, "t10k-labels-idx1-ubyte", &idx(&[2], &[1, 5])),
        ];
        for (i, change) in changes.iter().enumerate() {
            assert_ne!(digest(change, 2), base, "change {i}");
        }
        assert_ne!(digest(&|_| {}, 1), base, "another split is other training data");
    }

    #[test]
    fn the_digest_does_not_change_with_compression_or_the_test_images() {
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
             DIR/t10k-images-idx3-ubyte of 4; give files of one data set"
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
    fn examples_of_ones_own_have_a_digest_of_every_bit() {
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
    fn a_validation_size_that_leaves_nothing_to_train_on_is_refused() {
        assert_eq!(load(&small_set(1), 4).train.len(), 1);
        for size in [5, usize::MAX] {
            let wanted = format!(
                "a validation size of {size} leaves nothing to train on of the 5 training \
                 images of DIR; choose one below 5"
            );
            assert_eq!(load_error(&small_set(1), Some(size)), wanted);
        }
        assert!(Dataset::open(&Source::Embedded, Some(9000)).is_err());
    }

    /// n images of one pixel, without any flag.
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
    fn a_tenth_of_a_set_below_50_000_images_is_validation_and_5_000_of_a_larger_one() {
        for (n_images, validation) in
            [(1, 0), (9, 0), (10, 1), (300, 30), (49_999, 4999), (50_000, 5000), (60_000, 5000)]
        {
            let split = (n_images as usize - validation, validation);
            assert_eq!(default_split_of(n_images), split, "{n_images} images");
        }
    }

    #[test]
    fn a_batch_fits_into_an_epoch() {
        let data = Dataset::open(&Source::Embedded, Some(8900)).expect("100 are left");
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
