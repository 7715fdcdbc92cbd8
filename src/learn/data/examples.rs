//! Labelled examples. Most features that are zero are not stored.
//!
//! Four fifths of MNIST's pixels are zero, and the matrix products of the first layer skip zero
//! features.

use std::ops::Range;
use std::sync::Arc;

use super::pixels::PixelRows;

/// Labelled examples. The features of each example form a row.
#[derive(Clone, Debug)]
pub struct Examples {
    n_features: usize,
    /// The dimensions of an example, whose product is `n_features`.
    shape: Vec<usize>,
    n_classes: usize,
    labels: Vec<u32>,
    rows: Rows,
}

/// Storage of the features.
#[derive(Clone, Debug)]
enum Rows {
    /// The non-zero features as (column, value) pairs.
    Sparse {
        /// Index of each row's first pair in `columns` and `values`. The last element is the number
        /// of all pairs.
        starts: Vec<usize>,
        /// The column of each pair, ascending within a row.
        columns: Vec<u32>,
        /// The value of each pair.
        values: Vec<f32>,
    },
    /// Images of a file, stored as bytes. Example 0 is image `first` of the file. In this form,
    /// MNIST takes three tenths of the memory that [`Self::Sparse`] would take.
    Pixels { rows: Arc<PixelRows>, first: usize },
}

impl Examples {
    /// Returns an empty set of examples with `n_features` features and `n_classes` classes.
    #[must_use]
    pub fn new(n_features: usize, n_classes: usize) -> Self {
        let rows = Rows::Sparse { starts: vec![0], columns: Vec::new(), values: Vec::new() };
        let shape = vec![n_features];
        Self { n_features, shape, n_classes, labels: Vec::new(), rows }
    }

    /// Returns the examples with the dimensions `shape` of each. They do not affect the features,
    /// but only how a model that needs images reads them.
    ///
    /// # Panics
    /// Panics if an example of this shape does not have [`Self::n_features`] features.
    #[must_use]
    pub fn with_shape(self, shape: &[usize]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), self.n_features, "features of {shape:?}");
        Self { shape: shape.to_vec(), ..self }
    }

    /// Returns some images of a file as examples. `images` is the range of these images in `rows`,
    /// and `labels` has one label for each of them.
    ///
    /// # Panics
    /// If `images` is not within `rows`, if the numbers of images and labels differ, or if a label
    /// is not below `n_classes`.
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
        Self { n_features, shape: vec![n_features], n_classes, labels, rows }
    }

    /// Appends an example. Features that are exactly zero are not stored.
    ///
    /// # Panics
    /// If there are not `n_features` features, if the label is not below `n_classes`, or if these
    /// examples are images of a file.
    pub fn push(&mut self, features: impl IntoIterator<Item = f32>, label: u32) {
        assert!((label as usize) < self.n_classes, "label {label} of {} classes", self.n_classes);
        let Rows::Sparse { starts, columns, values } = &mut self.rows else {
            panic!("no example can be added to the images of a file");
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

    /// Splits the examples into the first `n` ones and the rest.
    ///
    /// # Panics
    /// Panics if there are fewer than `n` examples.
    #[must_use]
    pub fn split_at(self, n: usize) -> (Self, Self) {
        let Self { n_features, shape, n_classes, labels, rows } = self;
        let (head, tail) = match rows {
            Rows::Sparse { starts, columns, values } => {
                let at = starts[n];
                let sparse = |starts: &[usize], range: Range<usize>| Rows::Sparse {
                    starts: starts.iter().map(|start| start - range.start).collect(),
                    columns: columns[range.clone()].to_vec(),
                    values: values[range].to_vec(),
                };
                (sparse(&starts[..=n], 0..at), sparse(&starts[n..], at..columns.len()))
            }
            Rows::Pixels { rows, first } => {
                let tail = Rows::Pixels { rows: Arc::clone(&rows), first: first + n };
                (Rows::Pixels { rows, first }, tail)
            }
        };
        let part = |labels: &[u32], rows| {
            let labels = labels.to_vec();
            Self { n_features, shape: shape.clone(), n_classes, labels, rows }
        };
        (part(&labels[..n], head), part(&labels[n..], tail))
    }

    /// Returns the number of examples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether there are no examples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns the number of features of each example.
    #[must_use]
    pub const fn n_features(&self) -> usize {
        self.n_features
    }

    /// Returns the dimensions of each example, such as the height and the width of an image.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the number of classes. Every label is below this number.
    #[must_use]
    pub const fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Visits the pairs of features (2·p, 2·p + 1) of example `row` in ascending order of p. Calls
    /// `take` with p and the values of both features, unless both are zero.
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

    /// Loads the examples `rows` into the CPU's caches, because they will be read next.
    pub fn touch(&self, rows: &[usize]) {
        if let Rows::Pixels { rows: images, first } = &self.rows {
            rows.iter().for_each(|row| images.touch(first + row));
        }
    }

    /// Returns the columns, ascending, and the values of the non-zero features of example `row`.
    #[must_use]
    pub fn row(&self, row: usize) -> (Vec<u32>, Vec<f32>) {
        let mut features = (Vec::new(), Vec::new());
        self.for_each_pair(row, |pair, values| {
            let pair = (2 * pair..).zip(values);
            features.extend(pair.filter(|(_, value)| *value != 0.0));
        });
        features
    }

    /// Copies all features of example `row`.
    ///
    /// # Panics
    /// Panics if `features` does not have [`Self::n_features`] places.
    pub fn read_row(&self, row: usize, features: &mut [f32]) {
        assert_eq!(features.len(), self.n_features, "features of an example");
        features.fill(0.0);
        self.for_each_pair(row, |pair, values| {
            let places = features[2 * pair as usize..].iter_mut();
            places.zip(values).for_each(|(place, value)| *place = value);
        });
    }

    /// Returns the label of example `row`.
    #[must_use]
    pub fn label(&self, row: usize) -> u32 {
        self.labels[row]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_features_are_not_stored() {
        let mut examples = Examples::new(4, 3);
        examples.push([0.0, 0.5, 0.0, 1.0], 2);
        examples.push([0.0; 4], 0);
        assert_eq!(examples.row(0), (vec![1, 3], vec![0.5, 1.0]));
        assert_eq!(examples.row(1), (vec![], vec![]));
        assert_eq!((examples.label(0), examples.len()), (2, 2));
    }
}
