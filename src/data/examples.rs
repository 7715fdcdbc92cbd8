//! Examples as compressed sparse rows: MNIST is four fifths zeros, and the first layer skips them.

/// Labelled examples, each a row of features stored as its non-zero (column, value) pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    n_features: usize,
    n_classes: usize,
    /// Where each row's pairs start; one more than there are rows.
    starts: Vec<usize>,
    /// Ascending within a row.
    columns: Vec<u32>,
    values: Vec<f32>,
    labels: Vec<u32>,
}

impl Examples {
    /// No examples yet, of `n_features` features and `n_classes` classes.
    #[must_use]
    pub fn new(n_features: usize, n_classes: usize) -> Self {
        Self { n_features, n_classes, starts: vec![0], ..Self::default() }
    }

    /// Appends an example. Features that are exactly zero are not stored.
    ///
    /// # Panics
    /// If there are not `n_features` features, or the label is not below `n_classes`.
    pub fn push(&mut self, features: impl IntoIterator<Item = f32>, label: u32) {
        assert!((label as usize) < self.n_classes, "label {label} of {} classes", self.n_classes);
        let mut n_features = 0;
        for value in features {
            if value != 0.0 {
                self.columns.push(n_features);
                self.values.push(value);
            }
            n_features += 1;
        }
        assert_eq!(n_features as usize, self.n_features, "features of an example");
        self.starts.push(self.columns.len());
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

    /// The non-zero features of example `row`: columns, ascending, and their values.
    #[must_use]
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.starts[row]..self.starts[row + 1];
        (&self.columns[range.clone()], &self.values[range])
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
        assert_eq!(examples.row(0), (&[1, 3][..], &[0.5, 1.0][..]));
        assert_eq!(examples.row(1), (&[][..], &[][..]));
        assert_eq!((examples.label(0), examples.len()), (2, 2));
    }
}
