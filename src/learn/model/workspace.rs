//! The scratch memory of a multilayer perceptron: padded weights, activations and deltas.
//!
//! The memory is kept between batches, and grows only if a batch is larger than all earlier
//! batches.

#[cfg(feature = "benching")]
#[path = "../../../benches/support/gradient_parts.rs"]
pub mod benching;

use crate::model::aligned::Aligned;
use crate::model::elementwise::{Activation, add_bias, column_sums};
use crate::model::inputs::{FEATURES_A_BLOCK, Inputs};
use crate::model::lanes::Lanes;
use crate::model::layout::RowBlock;
use crate::model::matrix::Matrix;
use crate::model::model::{Batch, Gradient, Parameters};
use crate::model::panels::Panels;
use crate::model::product::{Identity, MAX_STRIP, Out, Plain, Transposed, WhereAboveZero, product};
use crate::model::softmax::softmax_cross_entropy;
use crate::model::sparse::{self, FORWARD_STRIP, Forward, Zeros, gradient_strip, pair_products};
use crate::model::squares::sum_of_squares;

/// The parameters, outputs and deltas of one layer.
#[derive(Debug)]
struct Layer {
    /// The weights. Empty for the first layer, whose weights are read directly from the shards
    /// during the product.
    weights: Matrix,
    /// The transpose of the weights. Empty for the first layer, because no deltas are computed for
    /// the inputs.
    transposed: Matrix,
    /// The bias, followed by enough zeros to read whole vectors in the widest strip of columns.
    bias: Aligned,
    /// The outputs after the activation. The outputs of the last layer are the logits.
    outputs: Matrix,
    /// The derivatives of the loss with respect to the sums before the activation.
    deltas: Matrix,
    /// The column sums of the deltas.
    bias_gradient: Aligned,
}

/// The scratch memory of a network. The memory grows to the size that the largest batch needs.
#[derive(Debug)]
pub(crate) struct Workspace {
    layers: Vec<Layer>,
    inputs: Inputs,
    labels: Vec<u32>,
    /// The rows of the first layer's weights for one block of features.
    block_weights: Panels,
    /// The partial sums of the first layer's forward product.
    sums: Panels,
    /// A copy of the first layer's deltas in strips.
    deltas: Panels,
    /// Whether the first layer's gradient adds or skips terms whose input is zero. The terms may be
    /// added only if all deltas of the first layer are finite.
    zeros: Zeros,
    /// Numbers of the pairs of rows in the first layer's gradient that are not two whole rows of
    /// one row block. These pairs are computed in scratch memory.
    split_pairs: Vec<usize>,
    /// Scratch memory for two rows of the widest layer.
    rows: Vec<f32>,
    /// Scratch memory of the softmax, one value per class.
    exps: Vec<f64>,
}

/// Whether the forward pass also computes the sum of the squared weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Squares {
    Wanted,
    NotWanted,
}

impl Workspace {
    /// Allocates scratch memory for a network. `sizes` contains the number of features, the sizes
    /// of the hidden layers, and the number of classes.
    pub(crate) fn new(sizes: &[usize]) -> Self {
        let layer = |(i, pair): (usize, &[usize])| Layer {
            weights: if i == 0 { Matrix::new(0, 0) } else { Matrix::new(pair[0], pair[1]) },
            transposed: if i == 0 { Matrix::new(0, 0) } else { Matrix::new(pair[1], pair[0]) },
            bias: Aligned::new(pair[1] + MAX_STRIP),
            outputs: Matrix::new(0, pair[1]),
            deltas: Matrix::new(0, pair[1]),
            bias_gradient: Aligned::new(Matrix::new(1, pair[1]).stride()),
        };
        let widest = sizes[1..].iter().copied().max().unwrap_or(0);
        Self {
            layers: sizes.windows(2).enumerate().map(layer).collect(),
            inputs: Inputs::default(),
            labels: Vec::new(),
            block_weights: Panels::default(),
            sums: Panels::default(),
            deltas: Panels::default(),
            zeros: Zeros::LeftOut,
            split_pairs: Vec::new(),
            rows: vec![0.0; 2 * widest],
            exps: vec![0.0; sizes[sizes.len() - 1]],
        }
    }

    /// Copies the features and labels of a batch into the workspace.
    pub(crate) fn load_batch(&mut self, batch: Batch<'_>) {
        let Batch { examples, rows, .. } = batch;
        for layer in &mut self.layers {
            layer.outputs.reserve_rows(rows.len());
            layer.deltas.reserve_rows(rows.len());
        }
        self.labels.clear();
        self.labels.extend(rows.iter().map(|&row| examples.label(row)));
        self.inputs.load(examples, rows);
    }

    /// Computes the outputs of every layer. Returns the sum of all squared weights if `squares` is
    /// [`Squares::Wanted`], and 0 otherwise.
    ///
    /// The sums of the squares of all rows are added in f64, in ascending order of layers and rows.
    /// [`sum_of_squares`] defines the sum of one row.
    #[inline(always)]
    pub(crate) fn forward<L: Lanes>(
        &mut self,
        lanes: L,
        parameters: Parameters<'_>,
        squares: Squares,
    ) -> f64 {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            for block in parameters.layout.row_blocks(2 * i + 1) {
                let bias = &mut layer.bias.values_mut()[block.columns.clone()];
                parameters.shards[block.ps].read(block.range.start, bias);
            }
        }
        let mut total = self.forward_first(lanes, parameters, squares);
        for i in 1..self.layers.len() {
            total = self.load_weights(lanes, i, parameters, squares, total);
            self.forward_next(lanes, i);
        }
        total
    }

    /// Returns the activation function of layer `i`.
    const fn activation(&self, i: usize) -> Activation {
        if i + 1 == self.layers.len() { Activation::None } else { Activation::Relu }
    }

    /// Computes the outputs of layer `i`, which must not be the first layer.
    #[inline(always)]
    fn forward_next<L: Lanes>(&mut self, lanes: L, i: usize) {
        let (n_rows, activation) = (self.labels.len(), self.activation(i));
        let (before, rest) = self.layers.split_at_mut(i);
        let Layer { outputs, weights, bias, .. } = &mut rest[0];
        let (stride, n_columns) = (outputs.stride(), outputs.n_columns());
        let mut out = Out { values: outputs.values_mut(), stride, n_columns, adds: false };
        let left = Plain(&before[i - 1].outputs);
        product(lanes, left, 0..n_rows, weights, Identity, &mut out);
        add_bias(outputs, n_rows, bias.values(), activation);
    }

    /// Computes the outputs of the first layer. Returns the sum of the layer's squared weights if
    /// `squares` is [`Squares::Wanted`], and 0 otherwise.
    ///
    /// The weights are read once, and the blocks of features are processed one after the other. If
    /// both features of a pair are zero in every example, the weights of these features are not
    /// copied.
    #[inline(always)]
    fn forward_first<L: Lanes>(
        &mut self,
        lanes: L,
        parameters: Parameters<'_>,
        squares: Squares,
    ) -> f64 {
        let activation = self.activation(0);
        let Self { layers, inputs, block_weights, sums, rows: room, .. } = self;
        let Layer { outputs, bias, .. } = &mut layers[0];
        let n_columns = outputs.n_columns();
        let room = &mut room[..n_columns];
        block_weights.reshape(lanes, (FEATURES_A_BLOCK, n_columns), FORWARD_STRIP);
        sums.reshape(lanes, (inputs.n_rows(), n_columns), FORWARD_STRIP);
        let mut forward = Forward { inputs, sums, bias: bias.values(), activation, outputs };
        let mut total = 0.0;
        for part in parameters.layout.row_blocks(0) {
            for row in part.rows.clone() {
                // The sum of squares includes rows that the product does not need.
                let is_used = !inputs.is_unused(row);
                let is_wanted = is_used || squares == Squares::Wanted;
                let values =
                    if is_wanted { parameters.whole_row(part, row, room) } else { Some(&[][..]) };
                // `whole_row` returns `None` if the rest of the row is in the next row block of the
                // layout.
                let Some(values) = values else { continue };
                if squares == Squares::Wanted {
                    total += f64::from(sum_of_squares(lanes, values));
                }
                let (block, place) = (row / FEATURES_A_BLOCK, row % FEATURES_A_BLOCK);
                if is_used {
                    block_weights.set_row::<L, FORWARD_STRIP>(lanes, place, values);
                }
                // Rows of unused features may contain values of an earlier batch. No entry of an
                // example refers to these rows.
                if row + 1 == inputs.features(block).end {
                    forward.add_products(lanes, block, block_weights);
                }
            }
        }
        total
    }

    /// Copies the weights of layer `i` into the workspace, both plain and transposed. If `squares`
    /// is [`Squares::Wanted`], adds the squares of the weights to `total`. Returns `total`.
    #[inline(always)]
    fn load_weights<L: Lanes>(
        &mut self,
        lanes: L,
        i: usize,
        parameters: Parameters<'_>,
        squares: Squares,
        mut total: f64,
    ) -> f64 {
        let Layer { weights, transposed, .. } = &mut self.layers[i];
        let room = &mut self.rows[..weights.n_columns()];
        parameters.for_each_row(2 * i, room, |row, values| {
            if squares == Squares::Wanted {
                total += f64::from(sum_of_squares(lanes, values));
            }
            let stride = transposed.stride();
            let column = transposed.values_mut()[row..].iter_mut().step_by(stride);
            let places = weights.row_mut(row).iter_mut().zip(column);
            for ((place, transposed), value) in places.zip(values) {
                (*place, *transposed) = (*value, *value);
            }
        });
        total
    }

    /// Returns the mean cross-entropy of the batch, and writes the gradient of the mean into
    /// `gradient`. The caller must have called [`Self::forward`].
    #[inline(always)]
    pub(crate) fn backward<L: Lanes>(&mut self, lanes: L, gradient: &mut Gradient<'_>) -> f64 {
        let last = self.layers.len() - 1;
        let loss = self.start_back();
        for i in (1..=last).rev() {
            self.pass_back(lanes, i);
        }
        self.spread_deltas(lanes);
        self.first_gradient(lanes, gradient);
        for i in 0..=last {
            if i > 0 {
                self.sum_deltas(lanes, i);
                self.weight_gradient(lanes, i, gradient);
            }
            let Layer { bias_gradient, outputs, .. } = &self.layers[i];
            gradient.write_flat(2 * i + 1, &bias_gradient.values()[..outputs.n_columns()]);
        }
        loss
    }

    /// Returns the mean cross-entropy and computes the deltas of the last layer.
    #[inline(always)]
    fn start_back(&mut self) -> f64 {
        let layer = self.layers.last_mut().expect("there is a layer");
        // The logits are not needed again, so the softmax may overwrite them.
        std::mem::swap(&mut layer.outputs, &mut layer.deltas);
        softmax_cross_entropy(&mut layer.deltas, &self.labels, &mut self.exps)
    }

    /// Computes the deltas of layer `i - 1` from the deltas of layer `i`.
    #[inline(always)]
    fn pass_back<L: Lanes>(&mut self, lanes: L, i: usize) {
        let n_rows = self.labels.len();
        let (before, rest) = self.layers.split_at_mut(i);
        let Layer { deltas: next_deltas, transposed, .. } = &rest[0];
        let Layer { outputs, deltas, .. } = &mut before[i - 1];
        let (stride, n_columns) = (deltas.stride(), deltas.n_columns());
        let mut out = Out { values: deltas.values_mut(), stride, n_columns, adds: false };
        product(
            lanes,
            Plain(next_deltas),
            0..n_rows,
            transposed,
            WhereAboveZero(outputs),
            &mut out,
        );
    }

    /// Computes the bias gradient of layer `i`.
    #[inline(always)]
    fn sum_deltas<L: Lanes>(&mut self, lanes: L, i: usize) {
        let Layer { deltas, bias_gradient, .. } = &mut self.layers[i];
        column_sums(lanes, deltas, self.labels.len(), bias_gradient.values_mut());
    }

    /// Copies the first layer's deltas into strips, and computes the gradient of the first layer's
    /// bias.
    #[inline(always)]
    fn spread_deltas<L: Lanes>(&mut self, lanes: L) {
        self.sum_deltas(lanes, 0);
        let n_rows = self.labels.len();
        let deltas = &self.layers[0].deltas;
        let shape = (n_rows, deltas.n_columns());
        self.deltas.reshape(lanes, shape, gradient_strip::<L>());
        // Zero times a finite delta is 0. If any delta is infinite or NaN, this sum is NaN.
        let mut all_zero = lanes.splat(0.0);
        for row in 0..n_rows {
            let values = deltas.row(row);
            if L::REGISTERS >= 32 {
                self.deltas.set_row::<L, 8>(lanes, row, values);
            } else {
                self.deltas.set_row::<L, 6>(lanes, row, values);
            }
            for vector in L::split(deltas.padded_row(row)).0 {
                all_zero = lanes.mul_add(*vector, lanes.splat(0.0), all_zero);
            }
        }
        let is_finite = L::floats(&[all_zero]).iter().all(|zero| *zero == 0.0);
        self.zeros = if is_finite { Zeros::Added } else { Zeros::LeftOut };
    }

    /// Writes the gradient of the first layer's weights directly into the shards.
    ///
    /// Rows are computed in pairs. If a pair is not two whole rows of one row block, the pair is
    /// computed in scratch memory and then copied to the shards.
    #[inline(always)]
    fn first_gradient<L: Lanes>(&mut self, lanes: L, gradient: &mut Gradient<'_>) {
        let Self { inputs, deltas, split_pairs, rows, zeros, .. } = self;
        let operands = sparse::Operands { inputs, deltas, zeros: *zeros };
        let n_columns = deltas.n_columns();
        let blocks = gradient.layout.row_blocks(0);
        split_pairs.clear();
        for block in blocks {
            let RowBlock { ps, range, rows, columns } = block;
            let is_whole = columns.len() == n_columns;
            let pairs = if is_whole { rows.start.div_ceil(2)..rows.end / 2 } else { 0..0 };
            for pair in [rows.start / 2, (rows.end - 1) / 2] {
                // Blocks are visited in ascending order. So if the pair was pushed before, it is
                // the last element.
                if !pairs.contains(&pair) && split_pairs.last() != Some(&pair) {
                    split_pairs.push(pair);
                }
            }
            if pairs.start < pairs.end {
                let start = range.start + (2 * pairs.start - rows.start) * n_columns;
                let values = &mut gradient.shards[*ps][start..range.end];
                let mut out = Out { values, stride: n_columns, n_columns, adds: false };
                pair_products(lanes, &operands, pairs, &mut out);
            }
        }
        for &pair in &*split_pairs {
            let mut out = Out {
                values: &mut rows[..2 * n_columns],
                stride: n_columns,
                n_columns,
                adds: false,
            };
            pair_products(lanes, &operands, pair..pair + 1, &mut out);
            for block in blocks {
                let rows_here = block.rows.start.max(2 * pair)..block.rows.end.min(2 * pair + 2);
                for row in rows_here {
                    let width = block.columns.len();
                    let place = block.range.start + (row - block.rows.start) * width;
                    let from = (row - 2 * pair) * n_columns + block.columns.start;
                    gradient.shards[block.ps][place..place + width]
                        .copy_from_slice(&rows[from..from + width]);
                }
            }
        }
    }

    /// Writes the gradient of the weights of layer `i` directly into the shards. Layer `i` must not
    /// be the first layer.
    #[inline(always)]
    fn weight_gradient<L: Lanes>(&mut self, lanes: L, i: usize, gradient: &mut Gradient<'_>) {
        let n_rows = self.labels.len();
        let deltas = &self.layers[i].deltas;
        let n_columns = deltas.n_columns();
        for block in gradient.layout.row_blocks(2 * i) {
            let shard = &mut gradient.shards[block.ps][block.range.clone()];
            // If two shards share a row, the row is computed for each of them, and each shard gets
            // only its part.
            let whole = block.columns.len() == n_columns;
            let values = if whole { &mut *shard } else { &mut self.rows[..n_columns] };
            let mut out = Out { values, stride: n_columns, n_columns, adds: false };
            let left = Transposed(&self.layers[i - 1].outputs, n_rows);
            product(lanes, left, block.rows.clone(), deltas, Identity, &mut out);
            if !whole {
                shard.copy_from_slice(&self.rows[block.columns.clone()]);
            }
        }
    }

    /// Returns the logits of example `row` of the batch. The caller must have called
    /// [`Self::forward`].
    pub(crate) fn logits(&self, row: usize) -> &[f32] {
        self.layers[self.layers.len() - 1].outputs.row(row)
    }
}
