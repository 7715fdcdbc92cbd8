//! Labelled examples. MNIST is four fifths zeros, and the first layer skips them.

use std::sync::Arc;

/// A pixel's value is its byte times this: TensorFlow multiplies by the reciprocal in 32 bits.
pub(crate) const PIXEL_SCALE: f32 = 1.0 / 255.0;

/// Labelled examples, each a row of features.
#[derive(Clone, Debug)]
pub struct Examples {
    n_features: usize,
    n_classes: usize,
    labels: Vec<u32>,
    rows: Rows,
}

/// How the features are kept.
#[derive(Clone, Debug)]
enum Rows {
    /// The (column, value) pairs of those that are not zero.
    Sparse {
        /// Where each row's pairs start; one more than there are rows.
        starts: Vec<usize>,
        /// Ascending within a row.
        columns: Vec<u32>,
        values: Vec<f32>,
    },
    /// All of them, as the bytes of a file: of MNIST two thirds of what the pairs would take, and
    /// nothing to do before the first step.
    Pixels { file: Arc<Vec<u8>>, start: usize },
}

impl Examples {
    /// No examples yet, of `n_features` features and `n_classes` classes.
    #[must_use]
    pub fn new(n_features: usize, n_classes: usize) -> Self {
        let rows = Rows::Sparse { starts: vec![0], columns: Vec::new(), values: Vec::new() };
        Self { n_features, n_classes, labels: Vec::new(), rows }
    }

    /// Images whose pixels are in a file, one image behind the other, from byte `start` on: as many
    /// as there are labels. A pixel's value is its byte, over 255.
    ///
    /// # Panics
    /// If the file ends before them, or a label is not below `n_classes`.
    pub(crate) fn of_pixels(
        (file, start): (Arc<Vec<u8>>, usize),
        labels: &[u8],
        n_features: usize,
        n_classes: usize,
    ) -> Self {
        assert!(start + labels.len() * n_features <= file.len(), "the file has all pixels");
        let labels: Vec<u32> = labels.iter().map(|&label| label.into()).collect();
        assert!(labels.iter().all(|&label| (label as usize) < n_classes), "labels are classes");
        Self { n_features, n_classes, labels, rows: Rows::Pixels { file, start } }
    }

    /// Appends an example. Features that are exactly zero are not stored.
    ///
    /// # Panics
    /// If there are not `n_features` features, or the label is not below `n_classes`, or these are
    /// a data set's images.
    pub fn push(&mut self, features: impl IntoIterator<Item = f32>, label: u32) {
        assert!((label as usize) < self.n_classes, "label {label} of {} classes", self.n_classes);
        let Rows::Sparse { starts, columns, values } = &mut self.rows else {
            panic!("a data set's images are as they are");
        };
        let mut n_features = 0;
        for value in features {
            if value != 0.0 {
                columns.push(n_features);
                values.push(value);
            }
            n_features += 1;
        }
        assert_eq!(n_features as usize, self.n_features, "features of an example");
        starts.push(columns.len());
        self.labels.push(label);
    }

    /// The number of examples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Features an example.
    #[must_use]
    pub const fn n_features(&self) -> usize {
        self.n_features
    }

    /// Classes that a label may name.
    #[must_use]
    pub const fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Appends the non-zero features of example `row`: their columns, ascending, and their values.
    pub fn append_row(&self, row: usize, columns: &mut Vec<u32>, values: &mut Vec<f32>) {
        match &self.rows {
            Rows::Sparse { starts, columns: all_columns, values: all_values } => {
                let range = starts[row]..starts[row + 1];
                columns.extend_from_slice(&all_columns[range.clone()]);
                values.extend_from_slice(&all_values[range]);
            }
            Rows::Pixels { file, start } => {
                let pixels = &file[start + row * self.n_features..][..self.n_features];
                append_pixels(pixels, columns, values);
            }
        }
    }

    /// The non-zero features of example `row`: columns, ascending, and their values.
    #[must_use]
    pub fn row(&self, row: usize) -> (Vec<u32>, Vec<f32>) {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        self.append_row(row, &mut columns, &mut values);
        (columns, values)
    }

    /// The label of example `row`.
    #[must_use]
    pub fn label(&self, row: usize) -> u32 {
        self.labels[row]
    }
}

/// Bytes that are looked at together: most of them are zero in all.
const CHUNK: usize = 8;

/// Appends the columns and values of the pixels that are not zero.
fn append_pixels(pixels: &[u8], columns: &mut Vec<u32>, values: &mut Vec<f32>) {
    let mut n = columns.len();
    columns.resize(n + pixels.len(), 0);
    values.resize(n + pixels.len(), 0.0);
    for (chunk, first) in pixels.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        if chunk.iter().fold(0, |all, byte| all | byte) == 0 {
            continue;
        }
        // Written in any case, and kept if it is not zero: a branch for each could not be foreseen.
        for (&byte, column) in chunk.iter().zip(first..) {
            columns[n] = column;
            values[n] = f32::from(byte) * PIXEL_SCALE;
            n += usize::from(byte != 0);
        }
    }
    columns.truncate(n);
    values.truncate(n);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_are_left_out() {
        let mut examples = Examples::new(4, 3);
        examples.push([0.0, 0.5, 0.0, 1.0], 2);
        examples.push([0.0; 4], 0);
        assert_eq!(examples.row(0), (vec![1, 3], vec![0.5, 1.0]));
        assert_eq!(examples.row(1), (vec![], vec![]));
        assert_eq!((examples.label(0), examples.len()), (2, 2));
    }

    proptest! {
        #[test]
        fn images_are_the_examples_of_their_pixels(
            n_features in 1_usize..30,
            header in 0_usize..5,
            bytes in proptest::collection::vec(prop_oneof![3 => Just(0), 1 => any::<u8>()], 0..200),
        ) {
            let labels: Vec<u8> = (0..bytes.len() / n_features).map(|i| (i % 7) as u8).collect();
            let file = Arc::new([vec![1; header], bytes.clone()].concat());
            let images = Examples::of_pixels((file, header), &labels, n_features, 7);
            let mut examples = Examples::new(n_features, 7);
            for (pixels, &label) in bytes.chunks_exact(n_features).zip(&labels) {
                let value = |&byte: &u8| f32::from(byte) * PIXEL_SCALE;
                examples.push(pixels.iter().map(value), label.into());
            }
            prop_assert_eq!(images.len(), examples.len());
            for row in 0..examples.len() {
                prop_assert_eq!(images.row(row), examples.row(row));
                prop_assert_eq!(images.label(row), examples.label(row));
            }
        }
    }
}
