//! The values between two layers.

/// The values between two layers, for all examples of a batch, and their deltas.
#[derive(Debug)]
pub(crate) struct Edge {
    /// The number of values per example.
    pub(crate) n_values: usize,
    /// The values of all examples.
    pub(crate) values: Vec<f32>,
    /// The deltas of all examples, or of one example.
    pub(crate) deltas: Vec<f32>,
    /// Whether `deltas` holds the deltas of all examples. Otherwise it holds those of one example,
    /// which stay in the cache.
    pub(crate) keeps_all: bool,
}

impl Edge {
    pub(crate) const fn new(n_values: usize, keeps_all: bool) -> Self {
        Self { n_values, values: Vec::new(), deltas: Vec::new(), keeps_all }
    }

    /// Makes room for the values of `n_examples` examples.
    pub(crate) fn reserve(&mut self, n_examples: usize) {
        let grow = |values: &mut Vec<f32>, n_examples| {
            let len = n_examples * self.n_values;
            if values.len() < len {
                values.resize(len, 0.0);
            }
        };
        grow(&mut self.values, n_examples);
        grow(&mut self.deltas, if self.keeps_all { n_examples } else { 1 });
    }
}
