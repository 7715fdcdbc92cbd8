//! A matrix of weights and a row of biases, with their gradients.

use crate::model::aligned::Aligned;
use crate::model::elementwise::column_sums;
use crate::model::lanes::{Kernel, Lanes};
use crate::model::matrix::Matrix;
use crate::model::product::{Identity, Indexed, Last, Out, product};
use crate::model::squares::sum_of_squares;
use crate::model::{Gradient, Parameters, SimdLevel, Variable};

/// The weights of a dense or convolutional layer. Each row of the matrix has the weights of one
/// input, and each column those of one output.
#[derive(Debug)]
pub(crate) struct Weights {
    shape: Vec<usize>,
    regularized: bool,
    values: Matrix,
    biases: Aligned,
    room: Vec<f32>,
    gradient: Vec<f32>,
    bias_gradient: Vec<f32>,
    /// The sums of the deltas of some examples.
    sums: Aligned,
}

impl Weights {
    /// Creates weights of the shape `shape`, whose last dimension is the outputs.
    pub(crate) fn new(shape: &[usize], regularized: bool) -> Self {
        let n_columns = shape[shape.len() - 1];
        let n_rows = shape.iter().product::<usize>() / n_columns;
        let stride = Matrix::new(1, n_columns).stride();
        Self {
            shape: shape.to_vec(),
            regularized,
            values: Matrix::new(n_rows, n_columns),
            biases: Aligned::new(stride),
            room: vec![0.0; n_columns],
            gradient: vec![0.0; n_rows * n_columns],
            bias_gradient: vec![0.0; n_columns],
            sums: Aligned::new(stride),
        }
    }

    /// Returns the variables: the weights, and the biases.
    pub(crate) fn variables(&self) -> Vec<Variable> {
        let weights = Variable::new("weights", &self.shape);
        let weights = if self.regularized { weights.regularized() } else { weights };
        vec![weights, Variable::new("biases", &[self.values.n_columns()])]
    }

    /// Copies the values of variables `first` and `first + 1`, and sets the gradient to zero.
    pub(crate) fn begin(&mut self, parameters: Parameters<'_>, first: usize) {
        let Self { values, room, .. } = self;
        parameters.for_each_row(first, room, |row, from| values.row_mut(row).copy_from_slice(from));
        parameters.read_into(first + 1, &mut self.biases.values_mut()[..self.room.len()]);
        self.gradient.fill(0.0);
        self.bias_gradient.fill(0.0);
    }

    /// Returns the matrix of weights.
    pub(crate) const fn values(&self) -> &Matrix {
        &self.values
    }

    /// Returns the squares of the weights, added to `before`, if the L2 term covers them.
    pub(crate) fn squares(&self, level: SimdLevel, before: f64) -> f64 {
        let rows = self.shape.iter().product::<usize>() / self.values.n_columns();
        if self.regularized {
            level.run(Squares { of: &self.values, rows, before })
        } else {
            before
        }
    }

    /// Computes `left` · weights + biases into rows that follow each other without padding.
    pub(crate) fn multiply(&self, level: SimdLevel, left: Indexed<'_>, outputs: &mut [f32]) {
        let last = WithBias(self.biases.values());
        level.run(Product { left, right: &self.values, last, adds: false, out: outputs });
    }

    /// Adds leftᵀ · deltas to the gradient of the weights, and the sums of the deltas to that of the
    /// biases. `transposed` is leftᵀ, and the first rows of `deltas` correspond to its columns.
    pub(crate) fn add_gradient(
        &mut self,
        level: SimdLevel,
        transposed: Indexed<'_>,
        deltas: &Matrix,
    ) {
        let n_rows = transposed.terms.len();
        let out = &mut self.gradient;
        level.run(Product { left: transposed, right: deltas, last: Identity, adds: true, out });
        level.run(ColumnSums { deltas, n_rows, sums: self.sums.values_mut() });
        let sums = self.bias_gradient.iter_mut().zip(self.sums.values());
        sums.for_each(|(total, sum)| *total += sum);
    }

    /// Writes the gradient of variables `first` and `first + 1`.
    pub(crate) fn write_gradient(&self, gradient: &mut Gradient<'_>, first: usize) {
        gradient.write_flat(first, &self.gradient);
        gradient.write_flat(first + 1, &self.bias_gradient);
    }
}

/// Computes `left` · `right` into rows that follow each other without padding.
pub(crate) fn multiply(level: SimdLevel, left: Indexed<'_>, right: &Matrix, out: &mut [f32]) {
    level.run(Product { left, right, last: Identity, adds: false, out });
}

/// Copies rows that follow each other without padding into the first rows of a matrix.
pub(crate) fn copy_rows(from: &[f32], to: &mut Matrix) {
    let n_columns = to.n_columns();
    from.chunks_exact(n_columns)
        .enumerate()
        .for_each(|(row, values)| to.row_mut(row).copy_from_slice(values));
}

/// The addition of the bias to each element of a product. The biases are padded with zeros.
#[derive(Clone, Copy, Debug)]
struct WithBias<'a>(&'a [f32]);

impl Last for WithBias<'_> {
    #[inline(always)]
    fn apply<L: Lanes, const NV: usize>(
        self,
        lanes: L,
        (_, first): (usize, usize),
        mut elements: [L::V; NV],
    ) -> [L::V; NV] {
        let biases = &L::split(self.0).0[first..][..NV];
        for v in 0..NV {
            elements[v] = lanes.add(elements[v], biases[v]);
        }
        elements
    }
}

struct Product<'a, T> {
    left: Indexed<'a>,
    right: &'a Matrix,
    last: T,
    adds: bool,
    out: &'a mut [f32],
}

impl<T: Last> Kernel for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { left, right, last, adds, out } = self;
        let n_columns = right.n_columns();
        let rows = 0..left.rows.len();
        let mut out = Out { values: out, stride: n_columns, n_columns, adds };
        product(lanes, left, rows, right, last, &mut out);
    }
}

struct ColumnSums<'a> {
    deltas: &'a Matrix,
    n_rows: usize,
    sums: &'a mut [f32],
}

impl Kernel for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        column_sums(lanes, self.deltas, self.n_rows, self.sums);
    }
}

struct Squares<'a> {
    of: &'a Matrix,
    rows: usize,
    before: f64,
}

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f64 {
        let square = |row| f64::from(sum_of_squares(lanes, self.of.row(row)));
        (0..self.rows).fold(self.before, |total, row| total + square(row))
    }
}
