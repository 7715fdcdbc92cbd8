//! Arrays in one file, as in Keras's `mnist.npz`: `x_train`, `y_train`, `x_test` and `y_test`, in
//! numpy's npz format or as safetensors.
//!
//! The first dimension counts the examples. Bytes are pixels, and a data set of bytes has the same
//! digest and trains to the same bits as its IDX files. Other numbers become the nearest f32.

use std::collections::BTreeMap;
use std::path::Path;

use unisono_core::train_config::Portion;
use unisono_learn::data::{Dataset, DatasetError, Examples, LabelledBytes};
use unisono_tensors::Dtype;
use unisono_tensors::tensor::{AnyTensor, Contents, Format};

use crate::error::{read, unfit};

/// The largest number of classes. It limits the memory that a wrong label can demand.
const MAX_CLASSES: u64 = 1 << 16;

/// Loads a file. The first training examples are for validation: by default a tenth of them, but at
/// most 5,000.
///
/// # Errors
/// Returns an error if the file is malformed, if an array is missing or does not fit the others, or
/// if validation takes every training example.
pub fn load(path: &Path, validation: Option<Portion>) -> Result<Dataset, DatasetError> {
    let format = Format::of(path);
    let format =
        format.ok_or_else(|| unfit(path, "its name ends in neither .npz nor .safetensors"))?;
    let contents = Contents::decode(format, &read(path)?);
    let contents = contents.map_err(|error| unfit(path, error))?;
    parts(&contents.tensors, path, validation)
}

fn parts(
    arrays: &BTreeMap<String, AnyTensor>,
    path: &Path,
    validation: Option<Portion>,
) -> Result<Dataset, DatasetError> {
    let wrong = |why: String| unfit(path, why);
    let array = |name: &str| {
        arrays.get(name).ok_or_else(|| {
            let known: Vec<_> = arrays.keys().map(String::as_str).collect();
            wrong(format!(
                "it has no array {name}, but {}: name the arrays x_train, y_train, x_test and y_test",
                if known.is_empty() { "none at all".to_owned() } else { known.join(", ") }
            ))
        })
    };
    let part = |x: &str, y: &str| Part::new((x, array(x)?), (y, array(y)?)).map_err(wrong);
    let (train, test) = (part("x_train", "y_train")?, part("x_test", "y_test")?);
    if (train.n_features, train.is_bytes()) != (test.n_features, test.is_bytes()) {
        return Err(wrong(format!(
            "x_train has {} features of type {}, but x_test has {} of type {}: give arrays of one \
             data set",
            train.n_features, train.x.dtype, test.n_features, test.x.dtype
        )));
    }
    let name = path.display().to_string();
    if train.is_bytes() && train.labels.iter().chain(&test.labels).all(|label| *label < 256) {
        return Dataset::of_bytes(&name, train.bytes(), test.bytes(), validation);
    }
    let n_classes =
        1 + train.labels.iter().chain(&test.labels).max().copied().unwrap_or(0) as usize;
    Dataset::divided(&name, train.examples(n_classes), test.examples(n_classes), validation)
}

/// The arrays of the training examples or of the test examples.
struct Part<'a> {
    x: &'a AnyTensor,
    n_features: usize,
    labels: Vec<u32>,
}

impl<'a> Part<'a> {
    fn new(
        (x_name, x): (&str, &'a AnyTensor),
        (y_name, y): (&str, &AnyTensor),
    ) -> Result<Self, String> {
        let [n, each @ ..] = &x.shape[..] else {
            return Err(format!("{x_name} is a single number: give one row for each example"));
        };
        let n_features: usize = each.iter().product();
        if *n == 0 || n_features == 0 {
            return Err(format!("{x_name} has the shape {:?}, which holds no example", x.shape));
        }
        let is_column = matches!(y.shape[..], [len] | [len, 1] if len == *n);
        if !is_column {
            return Err(format!(
                "{x_name} has {n} examples, but {y_name} has the shape {:?}: give one label for each",
                y.shape
            ));
        }
        if !matches!(x.dtype, Dtype::U8 | Dtype::I32 | Dtype::F32 | Dtype::F64) {
            return Err(format!(
                "{x_name} is of type {}, but only U8, I32, F32 and F64 are read: convert it",
                x.dtype
            ));
        }
        let labels = numbers(y, y_name)?.into_iter().enumerate();
        let label = |(row, label): (usize, f64)| {
            let is_class = label >= 0.0 && label < MAX_CLASSES as f64 && label.fract() == 0.0;
            is_class.then_some(label as u32).ok_or_else(|| {
                format!(
                    "{y_name} has {label} in row {row}, but a label is a whole number from 0 on"
                )
            })
        };
        Ok(Self { x, n_features, labels: labels.map(label).collect::<Result<_, _>>()? })
    }

    /// Returns the dimensions of each example.
    fn shape(&self) -> &[usize] {
        if self.x.shape.len() == 1 { &[1] } else { &self.x.shape[1..] }
    }

    fn is_bytes(&self) -> bool {
        self.x.dtype == Dtype::U8
    }

    /// Returns the examples as bytes. All labels must be below 256.
    fn bytes(&self) -> LabelledBytes {
        LabelledBytes {
            content: self.x.bytes.clone(),
            start: 0,
            shape: self.shape().to_vec(),
            labels: self.labels.iter().map(|label| *label as u8).collect(),
        }
    }

    fn examples(&self, n_classes: usize) -> Examples {
        let values = numbers(self.x, "x").expect("the type was checked");
        let examples = Examples::new(self.n_features, n_classes);
        let mut examples = examples.with_shape(self.shape());
        for (row, label) in values.chunks(self.n_features).zip(&self.labels) {
            examples.push(row.iter().map(|value| *value as f32), *label);
        }
        examples
    }
}

/// Returns the elements of an array.
fn numbers(array: &AnyTensor, name: &str) -> Result<Vec<f64>, String> {
    let mut numbers = Vec::new();
    let is_read = array.for_each_number(|number| numbers.push(number));
    let unread = || format!("{name} is of type {}, which is not read: convert it", array.dtype);
    is_read.then_some(numbers).ok_or_else(unread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> AnyTensor {
        AnyTensor::new(dtype, shape, bytes)
    }

    /// Six training and two test images of 2 x 2 pixels.
    fn images() -> BTreeMap<String, AnyTensor> {
        let pixels: Vec<u8> = (0..32).map(|i| i * 7).collect();
        let labels: Vec<u8> = [0i64, 1, 2, 0, 1, 2].iter().flat_map(|i| i.to_le_bytes()).collect();
        [
            ("x_train", array(Dtype::U8, &[6, 2, 2], &pixels[..24])),
            ("y_train", array(Dtype::I64, &[6], &labels)),
            ("x_test", array(Dtype::U8, &[2, 2, 2], &pixels[24..])),
            ("y_test", array(Dtype::U8, &[2, 1], &[2, 0])),
        ]
        .map(|(name, array)| (name.to_owned(), array))
        .into()
    }

    fn open(arrays: &BTreeMap<String, AnyTensor>) -> Result<Dataset, String> {
        let data = parts(arrays, Path::new("data.npz"), Some(1.into()));
        data.map_err(|error| error.to_string())
    }

    /// The bytes of an IDX file.
    fn idx(dims: &[u32], elements: &[u8]) -> Vec<u8> {
        let dims = dims.iter().flat_map(|dim| dim.to_be_bytes());
        [&[0, 0, 8], &[dims.clone().count() as u8 / 4][..]]
            .concat()
            .into_iter()
            .chain(dims)
            .chain(elements.iter().copied())
            .collect()
    }

    #[test]
    fn arrays_of_bytes_are_the_same_data_as_idx_files() {
        let arrays = images();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, bytes: Vec<u8>| {
            std::fs::write(folder.path().join(name), bytes).expect("a writable folder");
        };
        write("train-images-idx3-ubyte", idx(&[6, 2, 2], &arrays["x_train"].bytes));
        write("train-labels-idx1-ubyte", idx(&[6], &[0, 1, 2, 0, 1, 2]));
        write("t10k-images-idx3-ubyte", idx(&[2, 2, 2], &arrays["x_test"].bytes));
        write("t10k-labels-idx1-ubyte", idx(&[2], &[2, 0]));
        let idx = Dataset::load(folder.path(), Some(1.into())).expect("good files");
        let arrays = open(&arrays).expect("good arrays");
        assert_eq!(arrays.digest(), idx.digest());
        for (ours, theirs) in [(&arrays.train, &idx.train), (&arrays.test, &idx.test)] {
            for row in 0..theirs.len() {
                assert_eq!(ours.row(row), theirs.row(row));
                assert_eq!(ours.label(row), theirs.label(row));
            }
        }
    }

    #[test]
    fn other_numbers_become_the_nearest_f32() {
        let mut arrays = images();
        let values =
            |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        let train: Vec<f64> = (0..24).map(|i| f64::from(i) / 10.0).collect();
        arrays.insert("x_train".to_owned(), array(Dtype::F64, &[6, 4], &values(&train)));
        arrays.insert("x_test".to_owned(), array(Dtype::F64, &[2, 4], &values(&train[..8])));
        let data = open(&arrays).expect("good arrays");
        assert_eq!((data.train.n_features(), data.train.n_classes(), data.train.len()), (4, 3, 5));
        assert_eq!(data.train.row(0).1, [0.4f32, 0.5, 0.6, 0.7]);
    }

    #[test]
    fn error_names_the_array_and_the_remedy() {
        let why = |name: &str, wrong: AnyTensor| {
            let mut arrays = images();
            arrays.insert(name.to_owned(), wrong);
            open(&arrays).expect_err("bad arrays")
        };
        let labels = |labels: &[f32]| {
            let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
            array(Dtype::F32, &[labels.len()], &bytes)
        };
        insta::assert_snapshot!(open(&BTreeMap::new()).unwrap_err(), @"data.npz: it has no array x_train, but none at all: name the arrays x_train, y_train, x_test and y_test");
        insta::assert_snapshot!(why("y_train", labels(&[1.0; 5])), @"data.npz: x_train has 6 examples, but y_train has the shape [5]: give one label for each");
        insta::assert_snapshot!(why("y_train", labels(&[0.0, 1.0, 0.5, 0.0, 0.0, 0.0])), @"data.npz: y_train has 0.5 in row 2, but a label is a whole number from 0 on");
        insta::assert_snapshot!(why("x_test", array(Dtype::U8, &[2, 3], &[0; 6])), @"data.npz: x_train has 4 features of type U8, but x_test has 3 of type U8: give arrays of one data set");
        insta::assert_snapshot!(why("x_train", array(Dtype::F16, &[6, 4], &[0; 48])), @"data.npz: x_train is of type F16, but only U8, I32, F32 and F64 are read: convert it");
    }
}
