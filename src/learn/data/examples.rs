//! Labelled examples. MNIST is four fifths zeros, and the first layer skips them.

use std::ops::Range;
use std::sync::Arc;

use super::pixels::PixelRows;

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
    /// As bytes, from row `first` on: of MNIST three tenths of what they would take otherwise.
    Pixels { rows: Arc<PixelRows>, first: usize },
}

impl Examples {
    /// No examples yet, of `n_features` features and `n_classes` classes.
    #[must_use]
    pub fn new(n_features: usize, n_classes: usize) -> Self {
        let rows = Rows::Sparse { starts: vec![0], columns: Vec::new(), values: Vec::new() };
        Self { n_features, n_classes, labels: Vec::new(), rows }
    }

    /// A part of a file's images, one for each label.
    ///
    /// # Panics
    /// If there are fewer or more images than labels, or a label is not below `n_classes`.
    pub(crate) fn of_pixels(
        rows: Arc<PixelRows>,
        images: Range<usize>,
        labels: &[u8],
        n_classes: usize,
    ) -> Self {
        assert!(
            images.end <= rows.len() && images.len() == labels.len(),
            "an image for each label"
        );
        let labels: Vec<u32> = labels.iter().map(|&label| label.into()).collect();
        assert!(labels.iter().all(|&label| (label as usize) < n_classes), "labels are classes");
        let (n_features, rows) = (rows.n_features(), Rows::Pixels { rows, first: images.start });
        Self { n_features, n_classes, labels, rows }
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

    /// Calls `take` with each pair of features 2·p and 2·p + 1 of example `row` that are not both
    /// zero: p, ascending, and their values.
    #[inline]
    pub fn for_each_pair(&self, row: usize, mut take: impl FnMut(u32, [f32; 2])) {
        match &self.rows {
            Rows::Sparse { starts, columns, values } => {
                let range = starts[row]..starts[row + 1];
                let mut features = columns[range.clone()].iter().zip(&values[range]).peekable();
                while let Some((column, value)) = features.next() {
                    let mut pair = [0.0; 2];
                    pair[*column as usize % 2] = *value;
                    if let Some((_, value)) = features.next_if(|(next, _)| *next / 2 == column / 2)
                    {
                        pair[1] = *value;
                    }
                    take(column / 2, pair);
                }
            }
            Rows::Pixels { rows, first } => rows.for_each_pair(first + row, take),
        }
    }

    /// Looks at some examples that will be read next, in any order.
    pub fn touch(&self, rows: &[usize]) {
        if let Rows::Pixels { rows: images, first } = &self.rows {
            rows.iter().for_each(|row| images.touch(first + row));
        }
    }

    /// The non-zero features of example `row`: columns, ascending, and their values.
    #[must_use]
    pub fn row(&self, row: usize) -> (Vec<u32>, Vec<f32>) {
        let mut features = (Vec::new(), Vec::new());
        self.for_each_pair(row, |pair, values| {
            let pair = (2 * pair..).zip(values);
            features.extend(pair.filter(|(_, value)| *value != 0.0));
        });
        features
    }

    /// The label of example `row`.
    #[must_use]
    pub fn label(&self, row: usize) -> u32 {
        self.labels[row]
    }
}

#[cfg(test)]
mod tests {
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
}
