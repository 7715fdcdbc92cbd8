//! What a multilayer perceptron works in, allocated once: padded weights, activations, deltas.

#[cfg(feature = "benching")]
pub mod benching;

use crate::model::elementwise::{Activation, add_bias, column_sums, mask_by_relu};
use crate::model::lanes::Lanes;
use crate::model::layout::RowBlock;
use crate::model::matrix::Matrix;
use crate::model::model::{Batch, Gradient, Parameters};
use crate::model::panels::Panels;
use crate::model::product::{Left, Out, product};
use crate::model::softmax::softmax_cross_entropy;
use crate::model::sparse::{SparseMatrix, add_products, finish_row, sparse_product};
use crate::model::squares::sum_of_squares;

/// Rows of the first layer's weights that are multiplied at a time. Fewer stay in the L1 cache
/// better, but end more loops, each at an unforeseeable place; measured on AVX2.
const FEATURES_A_BLOCK: usize = 112;

/// One layer: its parameters, its outputs, and the loss's derivatives with respect to its sums.
#[derive(Debug)]
struct Layer {
    /// Of the first layer empty: its weights are multiplied as they are read.
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
    /// The batch as it is read.
    rows: Rows,
    /// Some rows of the first layer's weights, and its sums as far as they have come.
    some_weights: Panels,
    sums: Panels,
    /// The first layer's deltas once more.
    deltas: Panels,
    /// One row of the widest gradient.
    row: Vec<f32>,
    /// A number a class.
    exps: Vec<f64>,
}

/// Rows one behind the other: the columns of their non-zero elements, and the values of these.
#[derive(Debug, Default)]
struct Rows {
    /// Where each begins; and one end.
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
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
            weights: if i == 0 { Matrix::new(0, 0) } else { Matrix::new(pair[0], pair[1]) },
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
            rows: Rows::default(),
            some_weights: Panels::default(),
            sums: Panels::default(),
            deltas: Panels::default(),
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
        let Rows { starts, columns, values } = &mut self.rows;
        starts.clear();
        columns.clear();
        values.clear();
        for &row in rows {
            starts.push(columns.len());
            examples.append_row(row, columns, values);
        }
        starts.push(columns.len());
        let range = |pair: &[usize]| pair[0]..pair[1];
        let rows = starts.windows(2).map(range).map(|row| (&columns[row.clone()], &values[row]));
        self.inputs.fill(examples.n_features(), FEATURES_A_BLOCK, rows);
        self.transposed_inputs.fill_transposed(&self.inputs);
    }

    /// The outputs of every layer; the last one's are the logits. If wanted, returns the sum of the
    /// squares of all weights: in f64 over the rows of all layers, ascending, each row's as
    /// [`sum_of_squares`] defines it.
    #[inline(always)]
    pub(crate) fn forward<L: Lanes>(
        &mut self,
        lanes: L,
        parameters: Parameters<'_>,
        squares: Squares,
    ) -> f64 {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            for block in parameters.layout.row_blocks(2 * i + 1) {
                let bias = &mut layer.bias[block.columns.clone()];
                parameters.shards[block.ps].read(block.range.start, bias);
            }
        }
        let mut total = self.forward_first(lanes, parameters, squares);
        let n_rows = self.labels.len();
        for i in 1..self.layers.len() {
            self.layers[i - 1].activate(n_rows, Activation::Relu);
            total = self.load_weights(lanes, i, parameters, squares, total);
            self.layer_product(lanes, i, n_rows);
        }
        self.layers.last_mut().expect("there is a layer").activate(n_rows, Activation::None);
        total
    }

    /// The sums of layer `i`, which is not the first, without its bias.
    #[inline(always)]
    fn layer_product<L: Lanes>(&mut self, lanes: L, i: usize, n_rows: usize) {
        let (before, rest) = self.layers.split_at_mut(i);
        let layer = &mut rest[0];
        let (stride, n_columns) = (layer.outputs.stride(), layer.outputs.n_columns());
        let mut out = Out { values: layer.outputs.values_mut(), stride, n_columns };
        let left = Left::Plain(&before[i - 1].outputs);
        product(lanes, left, 0..n_rows, &layer.weights, &mut out);
    }

    /// The first layer's sums, without its bias, and its part of the squares. Its weights go past
    /// once, block by block; a row that only zeros would be multiplied by is left out.
    #[inline(always)]
    fn forward_first<L: Lanes>(
        &mut self,
        lanes: L,
        parameters: Parameters<'_>,
        squares: Squares,
    ) -> f64 {
        let Self { layers, inputs, transposed_inputs, some_weights, sums, row: room, .. } = self;
        let outputs = &mut layers[0].outputs;
        let (n_rows, n_columns) = (self.labels.len(), outputs.n_columns());
        let n_features = inputs.n_columns();
        some_weights.reshape(lanes, inputs.block(), n_columns);
        sums.reshape(lanes, n_rows, n_columns);
        sums.clear();
        let mut total = 0.0;
        for part in parameters.layout.row_blocks(0) {
            for row in part.rows.clone() {
                let room = &mut room[..n_columns];
                let Some(values) = whole_row(parameters, part, row, room) else { continue };
                if squares == Squares::Wanted {
                    total += f64::from(sum_of_squares(lanes, values));
                }
                let (block, place) = (row / inputs.block(), row % inputs.block());
                if !transposed_inputs.is_empty_row(row) {
                    some_weights.set_row(lanes, place, values);
                }
                if place + 1 == inputs.block() || row + 1 == n_features {
                    add_products(lanes, inputs, block, some_weights, sums);
                }
            }
        }
        for row in 0..n_rows {
            let values = outputs.row_mut(row);
            sums.row_into(lanes, row, values);
            finish_row(values);
        }
        total
    }

    /// Copies the weights of layer `i` in, and goes on with the sum of the squares.
    #[inline(always)]
    fn load_weights<L: Lanes>(
        &mut self,
        lanes: L,
        i: usize,
        parameters: Parameters<'_>,
        squares: Squares,
        mut total: f64,
    ) -> f64 {
        let weights = &mut self.layers[i].weights;
        let room = &mut self.row[..weights.n_columns()];
        for part in parameters.layout.row_blocks(2 * i) {
            for row in part.rows.clone() {
                let Some(values) = whole_row(parameters, part, row, room) else { continue };
                if squares == Squares::Wanted {
                    total += f64::from(sum_of_squares(lanes, values));
                }
                weights.row_mut(row).copy_from_slice(values);
            }
        }
        total
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
        let deltas = &self.layers[0].deltas;
        self.deltas.reshape(lanes, n_rows, deltas.n_columns());
        for row in 0..n_rows {
            self.deltas.set_row(lanes, row, deltas.row(row));
        }
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
                sparse_product(lanes, &self.transposed_inputs, rows, &self.deltas, &mut out);
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

impl Layer {
    /// What follows the product.
    #[inline(always)]
    fn activate(&mut self, n_rows: usize, activation: Activation) {
        add_bias(&mut self.outputs, n_rows, &self.bias, activation);
    }
}

/// A row of a variable, which is in this part of it, or ends there; `None` if it does not end there.
/// A row that shards share is put together in `room`, which is as long as a row.
#[inline(always)]
fn whole_row<'a>(
    parameters: Parameters<'a>,
    part: &RowBlock,
    row: usize,
    room: &'a mut [f32],
) -> Option<&'a [f32]> {
    let RowBlock { ps, range, rows, columns } = part;
    let (shard, start) =
        (&parameters.shards[*ps], range.start + (row - rows.start) * columns.len());
    if columns.len() == room.len() {
        return Some(shard.chunk(start..start + columns.len(), room));
    }
    shard.read(start, &mut room[columns.clone()]);
    (columns.end == room.len()).then_some(room)
}
