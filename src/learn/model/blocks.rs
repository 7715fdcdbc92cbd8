//! Building blocks for models: the operations of the built-in model on arrays.
//!
//! Each has the bits that `docs/arithmetic.md` defines, on every CPU. They are written for
//! shortness, not for speed. A library's product may add its terms in an order that depends on the
//! CPU, and a platform's `exp` has different bits on different CPUs.

use ndarray::{Array1, Array2, ArrayView2};

use crate::model::model::{Batch, Parameters};
use crate::model::portable::Portable;
use crate::model::softmax::cross_entropy;
use crate::model::squares::sum_of_squares;

impl Batch<'_> {
    /// Returns the features of the examples: one row for each example, in the order of the batch.
    #[must_use]
    pub fn features(&self) -> Array2<f32> {
        let mut features = Array2::zeros((self.rows.len(), self.examples.n_features()));
        for (mut row, &example) in features.outer_iter_mut().zip(self.rows) {
            self.examples.read_row(example, row.as_slice_mut().expect("a row is contiguous"));
        }
        features
    }

    /// Returns the labels of the examples, in the order of the batch.
    #[must_use]
    pub fn labels(&self) -> Vec<u32> {
        self.rows.iter().map(|&row| self.examples.label(row)).collect()
    }
}

impl Parameters<'_> {
    /// Returns the values of a variable of two dimensions. `variable` counts in creation order.
    ///
    /// # Panics
    /// Panics if the variable has another number of dimensions.
    #[must_use]
    pub fn matrix(&self, variable: usize) -> Array2<f32> {
        self.read(variable).into_dimensionality().expect("a variable of two dimensions")
    }

    /// Returns the values of a variable of one dimension. `variable` counts in creation order.
    ///
    /// # Panics
    /// Panics if the variable has another number of dimensions.
    #[must_use]
    pub fn vector(&self, variable: usize) -> Array1<f32> {
        self.read(variable).into_dimensionality().expect("a variable of one dimension")
    }

    /// Returns the L2 term λ·Σ w²/2 over all regularized variables, for the loss of a model (rules
    /// 17 to 19). `rate` is λ. With λ = 0, the result is 0.
    #[must_use]
    pub fn l2(&self, rate: f64) -> f64 {
        if rate == 0.0 {
            return 0.0;
        }
        let variables = self.layout.variables().iter().enumerate();
        let regularized = variables.filter(|(_, variable)| variable.regularized);
        let mut squares = 0.0;
        for (number, variable) in regularized {
            let values = self.read(number);
            let values = values.as_slice().expect("an array that was read has standard layout");
            for row in values.chunks(variable.n_columns().max(1)) {
                squares += f64::from(sum_of_squares(Portable, row));
            }
        }
        rate * squares / 2.0
    }
}

/// Returns a · b. Each element is one chain of fused multiply-adds (rule 6).
///
/// # Panics
/// Panics if the columns of `a` are not as many as the rows of `b`.
#[must_use]
pub fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Array2<f32> {
    assert_eq!(a.ncols(), b.nrows(), "columns of the left factor, and rows of the right one");
    Array2::from_shape_fn((a.nrows(), b.ncols()), |(row, column)| {
        let chain = |sum: f32, k| a[[row, k]].mul_add(b[[k, column]], sum);
        // Adding +0 turns -0 into +0, as in the built-in model.
        (0..a.ncols()).fold(0.0, chain) + 0.0
    })
}

/// Returns the mean softmax cross-entropy of a batch, and replaces the logits by the gradient of the
/// mean (rules 12 and 13). `logits` has one row for each label, and one column for each class.
///
/// # Panics
/// Panics if the numbers of rows and labels differ, or a label is not below the number of columns.
#[must_use]
pub fn softmax_cross_entropy(logits: &mut Array2<f32>, labels: &[u32]) -> f64 {
    assert_eq!(logits.nrows(), labels.len(), "rows of the logits, and labels");
    let n_rows = labels.len() as f64;
    let mut exps = vec![0.0; logits.ncols()];
    let mut total = 0.0;
    for (mut row, &label) in logits.outer_iter_mut().zip(labels) {
        let mut values = row.to_vec();
        total += cross_entropy(&mut values, label as usize, n_rows, &mut exps);
        row.iter_mut().zip(values).for_each(|(logit, delta)| *logit = delta);
    }
    total / n_rows
}

/// Returns the sum of each column, with plain additions in the order of the rows (rule 14).
#[must_use]
pub fn column_sums(matrix: ArrayView2<'_, f32>) -> Array1<f32> {
    matrix.outer_iter().fold(Array1::zeros(matrix.ncols()), |sums, row| sums + row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::model::{Gradient, Model, Variable};
    use crate::serial_run::trained;
    use crate::workload::Workload;
    use unisono_config::RunConfig;

    /// The built-in network with one hidden layer, written with the building blocks.
    struct Blocks {
        sizes: [usize; 3],
        rate: f64,
    }

    impl Model for Blocks {
        fn variables(&self) -> Vec<Variable> {
            crate::model::mlp::variables(&self.sizes)
        }

        fn gradient(
            &mut self,
            batch: Batch<'_>,
            parameters: Parameters<'_>,
            mut gradient: Gradient<'_>,
        ) -> f32 {
            let (matrix, vector) = (|n| parameters.matrix(n), |n| parameters.vector(n));
            let inputs = batch.features();
            let hidden = product(inputs.view(), matrix(0).view()) + vector(1);
            let hidden = hidden.mapv_into(|z| if z < 0.0 { 0.0 } else { z });
            let mut deltas = product(hidden.view(), matrix(2).view()) + vector(3);
            let loss = softmax_cross_entropy(&mut deltas, &batch.labels());
            let mut back = product(deltas.view(), matrix(2).t());
            back.zip_mut_with(&hidden, |delta, h| *delta = if *h > 0.0 { *delta } else { 0.0 });
            gradient.write(0, product(inputs.t(), back.view()).view().into_dyn());
            gradient.write(1, column_sums(back.view()).view().into_dyn());
            gradient.write(2, product(hidden.t(), deltas.view()).view().into_dyn());
            gradient.write(3, column_sums(deltas.view()).view().into_dyn());
            (loss + parameters.l2(self.rate)) as f32
        }

        fn logits(&mut self, _: Batch<'_>, _: Parameters<'_>, _: &mut Vec<f32>) {
            unreachable!("this test evaluates nothing")
        }
    }

    /// The kernels of the built-in model are an independent implementation of the same rules.
    #[test]
    fn model_of_building_blocks_has_the_bits_of_the_built_in_model() {
        let mut run = RunConfig::default();
        run.train.hidden = vec![13];
        run.train.batch_size = 7;
        run.train.regularization_rate = 0.01;
        run.train.learning_rate = 0.5;
        let blocks = Workload::new("blocks", |setup, data: &Dataset| {
            let sizes = [data.train.n_features(), 13, data.train.n_classes()];
            Ok(Blocks { sizes, rate: setup.run().train.regularization_rate })
        });
        assert_eq!(trained(&blocks, &run), trained(&Workload::built_in(), &run));
    }
}
