//! Small data sets in four IDX files, cut out of the embedded data set.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;

use super::fixture;

const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

const IMAGE_HEADER: usize = 16;
const LABEL_HEADER: usize = 8;
const IMAGE: usize = 28 * 28;

/// The variant of the training labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labels {
    /// The correct labels.
    Right,
    /// The labels of two training examples are exchanged. Validation examples are not affected.
    TwoExchanged,
}

/// The bytes of the four files. A test may change them before it writes them.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    pub(crate) train_images: Vec<u8>,
    pub(crate) train_labels: Vec<u8>,
    pub(crate) test_images: Vec<u8>,
    pub(crate) test_labels: Vec<u8>,
}

impl DataDir {
    /// The flag that selects the split of this data set.
    pub(crate) const VALIDATION: &str = "--validation-size 50";
    /// Name of the file of training images.
    pub(crate) const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
    const N_TRAIN: usize = 450;
    const N_VALIDATION: usize = 50;
    const N_TEST: usize = 40;

    pub(crate) fn new(labels: Labels) -> Self {
        let n_train = Self::N_VALIDATION + Self::N_TRAIN;
        let mut train_labels = cut(TRAIN_LABELS, LABEL_HEADER, 1, n_train);
        if labels == Labels::TwoExchanged {
            let first = LABEL_HEADER + Self::N_VALIDATION;
            let other = train_labels[first + 1..]
                .iter()
                .position(|label| *label != train_labels[first])
                .expect("there is more than one digit");
            train_labels.swap(first, first + 1 + other);
        }
        Self {
            train_images: cut(Self::TRAIN_IMAGES, IMAGE_HEADER, IMAGE, n_train),
            train_labels,
            test_images: cut(TEST_IMAGES, IMAGE_HEADER, IMAGE, Self::N_TEST),
            test_labels: cut(TEST_LABELS, LABEL_HEADER, 1, Self::N_TEST),
        }
    }

    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder can be made");
        for (name, bytes) in [
            (Self::TRAIN_IMAGES, &self.train_images),
            (TRAIN_LABELS, &self.train_labels),
            (TEST_IMAGES, &self.test_images),
            (TEST_LABELS, &self.test_labels),
        ] {
            fs::write(folder.join(name), bytes).expect("a file can be written");
        }
    }
}

/// Returns the first `n` elements of an embedded file as an IDX file.
fn cut(name: &str, header: usize, element: usize, n: usize) -> Vec<u8> {
    let file =
        fs::File::open(fixture("mnist").join(format!("{name}.gz"))).expect("the file exists");
    let mut bytes = vec![0; header + n * element];
    GzDecoder::new(file).read_exact(&mut bytes).expect("the file is that long");
    let n = u32::try_from(n).expect("a small number");
    bytes[4..8].copy_from_slice(&n.to_be_bytes());
    bytes
}
