//! The dense layer (rules 10, 14 and 15).

use super::operation::{Backward, Forward, Operation, Start};
use super::weights::{Weights, copy_rows, multiply};
use crate::model::matrix::Matrix;
use crate::model::product::Indexed;
use crate::model::{Gradient, Parameters, SimdLevel, Variable};

/// The number of rows and columns of a block that is transposed at once. The block fits in the
/// first-level cache.
const BLOCK: usize = 16;

/// Weights from every input to every output, and biases.
#[derive(Debug)]
pub(crate) struct Dense {
    n_inputs: usize,
    n_outputs: usize,
    weights: Weights,
    /// The transposed weights, if `is_transposed`.
    transposed: Matrix,
    is_transposed: bool,
    deltas: Matrix,
    /// 0, 1, 2, …
    inputs: Vec<u32>,
    outputs: Vec<u32>,
    /// The places of the first input and of the first output of each example.
    input_rows: Vec<u32>,
    output_rows: Vec<u32>,
}

impl Dense {
    /// Creates a layer.
    pub(crate) fn new(n_inputs: usize, n_outputs: usize, regularized: bool) -> Self {
        Self {
            n_inputs,
            n_outputs,
            weights: Weights::new(&[n_inputs, n_outputs], regularized),
            transposed: Matrix::new(0, n_inputs),
            is_transposed: false,
            deltas: Matrix::new(0, n_outputs),
            inputs: multiples(n_inputs, 1),
            outputs: multiples(n_outputs, 1),
            input_rows: Vec::new(),
            output_rows: Vec::new(),
        }
    }
}

/// Returns the first `n` multiples of `of`.
fn multiples(n: usize, of: usize) -> Vec<u32> {
    (0..n).map(|i| u32::try_from(i * of).expect("a batch has fewer than 2^32 values")).collect()
}

impl Operation for Dense {
    fn takes_whole_batches(&self) -> bool {
        true
    }

    fn variables(&self) -> Vec<Variable> {
        self.weights.variables()
    }

    fn begin(&mut self, batch: &Start, parameters: Parameters<'_>, first: usize) {
        if batch.n_examples > self.input_rows.len() {
            self.input_rows = multiples(batch.n_examples, self.n_inputs);
            self.output_rows = multiples(batch.n_examples, self.n_outputs);
            self.deltas.reserve_rows(batch.n_examples);
        }
        self.weights.begin(parameters, first);
        self.is_transposed = false;
    }

    fn squares(&self, level: SimdLevel, before: f64) -> f64 {
        self.weights.squares(level, before)
    }

    fn forward(&mut self, level: SimdLevel, pass: Forward<'_>) {
        let rows = &self.input_rows[..pass.examples.len()];
        let left = Indexed { values: pass.inputs, rows, terms: &self.inputs, span: self.n_inputs };
        self.weights.multiply(level, left, pass.outputs);
    }

    fn backward(&mut self, level: SimdLevel, pass: Backward<'_>) {
        let n_examples = pass.examples.len();
        copy_rows(pass.deltas, &mut self.deltas);
        let terms = &self.input_rows[..n_examples];
        let span = (n_examples - 1) * self.n_inputs + 1;
        let left = Indexed { values: pass.inputs, rows: &self.inputs, terms, span };
        self.weights.add_gradient(level, left, &self.deltas);
        let Some(before) = pass.before else { return };
        if !self.is_transposed {
            self.transposed.reserve_rows(self.n_outputs);
            transpose(self.weights.values(), self.n_inputs, &mut self.transposed);
            self.is_transposed = true;
        }
        let rows = &self.output_rows[..n_examples];
        let left =
            Indexed { values: pass.deltas, rows, terms: &self.outputs, span: self.n_outputs };
        multiply(level, left, &self.transposed, before);
    }

    fn write_gradient(&self, gradient: &mut Gradient<'_>, first: usize) {
        self.weights.write_gradient(gradient, first);
    }
}

/// Writes the transpose of the first `n_rows` rows of `from` into `to`.
fn transpose(from: &Matrix, n_rows: usize, to: &mut Matrix) {
    let (n_columns, stride, to_stride) = (from.n_columns(), from.stride(), to.stride());
    let (from, to) = (from.values(), to.values_mut());
    for top in (0..n_rows).step_by(BLOCK) {
        for left in (0..n_columns).step_by(BLOCK) {
            let rows = top..n_rows.min(top + BLOCK);
            for column in left..n_columns.min(left + BLOCK) {
                let place = &mut to[column * to_stride..][rows.clone()];
                for (place, row) in place.iter_mut().zip(rows.clone()) {
                    *place = from[row * stride + column];
                }
            }
        }
    }
}
