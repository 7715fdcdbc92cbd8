//! What a multilayer perceptron works in, allocated once: padded weights, activations, deltas.

use crate::model::elementwise::{Activation, add_bias, column_sums, mask_by_relu};
use crate::model::lanes::Lanes;
use crate::model::matrix::Matrix;
use crate::model::model::{Batch, Gradient, Parameters};
use crate::model::product::{Left, Out, product};
use crate::model::softmax::softmax_cross_entropy;
use crate::model::sparse::{SparseMatrix, sparse_product};
use crate::model::squares::sum_of_squares;

/// Rows of the first layer's weights that a strip of columns takes at a time. Fewer stay in the L1
/// cache better, but end more loops, each at an unforeseeable place; measured on AVX2.
const FEATURES_A_BLOCK: usize = 160;

/// One layer: its parameters, its outputs, and the loss's derivatives with respect to its sums.
#[derive(Debug)]
struct Layer {
    weights: Matrix,
    /// The weights' transpose; of the first layer, which passes nothing on, empty.
    transposed: Matrix,
    bias: Vec<f32>,
    outputs: Matrix,
    deltas: Matrix,
}

/// The room to work in, for batches of up to `n_rows` examples.
#[derive(Debug)]
pub(crate) struct Workspace {
    layers: Vec<Layer>,
    /// The batch, and its transpose.
    inputs: SparseMatrix,
    transposed_inputs: SparseMatrix,
    labels: Vec<u32>,
    /// One row of the widest gradient.
    row: Vec<f32>,
    /// A number a class.
    exps: Vec<f64>,
}

/// Whether the sum of the squares of the weights is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Squares {
    Wanted,
    NotWanted,
}

impl Workspace {
    /// For layers of these sizes: features, hidden…, classes.
    pub(crate) fn new(sizes: &[usize]) -> Self {
        let layer = |(i, pair): (usize, &[usize])| Layer {
            weights: Matrix::new(pair[0], pair[1]),
            transposed: if i == 0 { Matrix::new(0, 0) } else { Matrix::new(pair[1], pair[0]) },
            bias: vec![0.0; pair[1]],
            outputs: Matrix::new(0, pair[1]),
            deltas: Matrix::new(0, pair[1]),
        };
        Self {
            layers: sizes.windows(2).enumerate().map(layer).collect(),
            inputs: SparseMatrix::default(),
            transposed_inputs: SparseMatrix::default(),
            labels: Vec::new(),
            row: vec![0.0; sizes[1..].iter().copied().max().unwrap_or(0)],
            exps: vec![0.0; sizes[sizes.len() - 1]],
        }
    }

    /// Copies a batch in.
    pub(crate) fn load_batch(&mut self, batch: Batch<'_>) {
        let Batch { examples, rows } = batch;
        for layer in &mut self.layers {
            layer.outputs.reserve_rows(rows.len());
            layer.deltas.reserve_rows(rows.len());
        }
        self.labels.clear();
        self.labels.extend(rows.iter().map(|&row| examples.label(row)));
        let rows = rows.iter().map(|&row| examples.row(row));
        self.inputs.fill(examples.n_features(), FEATURES_A_BLOCK, rows);
    }

    /// Copies the parameters in. If wanted, returns the sum of the squares of all weights:
    /// in f64 over the rows of all layers, ascending, each row's as [`sum_of_squares`] defines it.
    #[inline(always)]
    pub(crate) fn load_parameters<L: Lanes>(
        &mut self,
        lanes: L,
        parameters: Parameters<'_>,
        squares: Squares,
    ) -> f64 {
        let mut total = 0.0;
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let (stride, n_columns) = (layer.weights.stride(), layer.weights.n_columns());
            let weights = layer.weights.values_mut();
            for block in parameters.layout.row_blocks(2 * i) {
                let mut values = &parameters.shards[block.ps][block.range.clone()];
                for row in block.rows.clone() {
                    let (here, rest) = values.split_at(block.columns.len());
                    values = rest;
                    let row = &mut weights[row * stride..][..stride];
                    row[block.columns.clone()].copy_from_slice(here);
                    if squares == Squares::Wanted && block.columns.end == n_columns {
                        total += f64::from(sum_of_squares(lanes, row));
                    }
                }
            }
            for block in parameters.layout.row_blocks(2 * i + 1) {
                let values = &parameters.shards[block.ps][block.range.clone()];
                layer.bias[block.columns.clone()].copy_from_slice(values);
            }
        }
        total
    }

    /// The outputs of every layer; the last one's are the logits.
    #[inline(always)]
    pub(crate) fn forward<L: Lanes>(&mut self, lanes: L) {
        let n_rows = self.labels.len();
        let n_layers = self.layers.len();
        for i in 0..n_layers {
            let (before, rest) = self.layers.split_at_mut(i);
            let layer = &mut rest[0];
            let (stride, n_columns) = (layer.outputs.stride(), layer.outputs.n_columns());
            let mut out = Out { values: layer.outputs.values_mut(), stride, n_columns };
            match before.last() {
                None => sparse_product(lanes, &self.inputs, 0..n_rows, &layer.weights, &mut out),
                Some(before) => {
                    let left = Left::Plain(&before.outputs);
                    product(lanes, left, 0..n_rows, &layer.weights, &mut out);
                }
            }
            let last = i + 1 == n_layers;
            let activation = if last { Activation::None } else { Activation::Relu };
            add_bias(&mut layer.outputs, n_rows, &layer.bias, activation);
        }
    }

    /// The mean cross-entropy of the batch, and its gradient, after [`Self::forward`].
    #[inline(always)]
    pub(crate) fn backward<L: Lanes>(&mut self, lanes: L, gradient: &mut Gradient<'_>) -> f64 {
        let n_rows = self.labels.len();
        let last = self.layers.len() - 1;
        let Layer { outputs, deltas, .. } = &mut self.layers[last];
        // The logits are not needed again.
        std::mem::swap(outputs, deltas);
        let loss = softmax_cross_entropy(deltas, &self.labels, &mut self.exps);
        for i in (1..=last).rev() {
            self.pass_back(lanes, i, n_rows);
        }
        self.transposed_inputs.fill_transposed(&self.inputs);
        for i in 0..=last {
            self.weight_gradient(lanes, i, n_rows, gradient);
            let sums = &mut self.row[..self.layers[i].bias.len()];
            column_sums(&self.layers[i].deltas, n_rows, sums);
            gradient.write_flat(2 * i + 1, sums);
        }
        loss
    }

    /// The deltas of layer `i - 1`, from those of layer `i`.
    #[inline(always)]
    fn pass_back<L: Lanes>(&mut self, lanes: L, i: usize, n_rows: usize) {
        let (before, rest) = self.layers.split_at_mut(i);
        let (before, layer) = (&mut before[i - 1], &mut rest[0]);
        for row in 0..layer.bias.len() {
            let stride = layer.weights.stride();
            let column = layer.weights.values()[row..].iter().step_by(stride);
            for (place, &weight) in layer.transposed.row_mut(row).iter_mut().zip(column) {
                *place = weight;
            }
        }
        let (stride, n_columns) = (before.deltas.stride(), before.deltas.n_columns());
        let mut out = Out { values: before.deltas.values_mut(), stride, n_columns };
        product(lanes, Left::Plain(&layer.deltas), 0..n_rows, &layer.transposed, &mut out);
        mask_by_relu(&mut before.deltas, n_rows, &before.outputs);
    }

    /// The gradient of layer `i`'s weights, straight into the shards.
    #[inline(always)]
    fn weight_gradient<L: Lanes>(
        &mut self,
        lanes: L,
        i: usize,
        n_rows: usize,
        gradient: &mut Gradient<'_>,
    ) {
        let deltas = &self.layers[i].deltas;
        let n_columns = deltas.n_columns();
        for block in gradient.layout.row_blocks(2 * i) {
            let shard = &mut gradient.shards[block.ps][block.range.clone()];
            // Of a row that two shards share, each computes all and keeps its part.
            let whole = block.columns.len() == n_columns;
            let values = if whole { &mut *shard } else { &mut self.row[..n_columns] };
            let mut out = Out { values, stride: n_columns, n_columns };
            let rows = block.rows.clone();
            if i == 0 {
                sparse_product(lanes, &self.transposed_inputs, rows, deltas, &mut out);
            } else {
                let left = Left::Transposed(&self.layers[i - 1].outputs, n_rows);
                product(lanes, left, rows, deltas, &mut out);
            }
            if !whole {
                shard.copy_from_slice(&self.row[block.columns.clone()]);
            }
        }
    }

    /// Row `row` of the logits, after [`Self::forward`].
    pub(crate) fn logits(&self, row: usize) -> &[f32] {
        self.layers[self.layers.len() - 1].outputs.row(row)
    }
}
