//! Runs the parts of a gradient separately, for `benches/kernels.rs`.

use std::hint::black_box;

use super::*;
use crate::model::lanes::Kernel;
use crate::model::layout::Layout;
use crate::model::simd::SimdLevel;
use unisono_core::floats::{Buffer, Floats};

/// A part of the computation of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Reading the batch from the data set, and sorting its elements by example and by feature.
    LoadBatch,
    /// The sparse product of the batch and the first layer's weights, with bias and ReLU. Includes
    /// reading the weights from the shards.
    ForwardFirst,
    /// [`Self::ForwardFirst`], with the sum of the squares of the weights.
    ForwardFirstWithSquares,
    /// Reading the second layer's weights from the shards, with the sum of their squares.
    LoadSecond,
    /// The dense product of the hidden layer and the second layer's weights, with bias.
    ForwardSecond,
    /// The softmax, the loss, and the deltas of the logits.
    Softmax,
    /// The deltas of the hidden layer: the dense product with the transpose of the second layer's
    /// weights, and the derivative of the ReLU.
    PassBack,
    /// Copying the hidden layer's deltas into strips, and the gradient of the hidden layer's bias.
    SpreadDeltas,
    /// The gradient of the second layer's weights: a dense product with a transposed operand.
    SecondGradient,
    /// The gradient of the first layer's weights: the sparse product of the transposed batch and
    /// the deltas.
    FirstGradient,
    /// A whole gradient, including the loops between the products, without loading the batch.
    Whole,
}

/// A network with one hidden layer, a batch, and buffers for a gradient. All variables are in one
/// shard.
#[derive(Debug)]
pub struct Bench<'a> {
    workspace: Workspace,
    level: SimdLevel,
    layout: Layout,
    parameters: Vec<Floats>,
    gradient: Vec<Buffer>,
    batch: Batch<'a>,
    /// Numbers of features, hidden units and classes.
    sizes: [usize; 3],
}

impl<'a> Bench<'a> {
    /// Creates a benchmark with these parameters, in a layout for one ps.
    ///
    /// The function computes a whole gradient once, so that every part has its inputs.
    #[must_use]
    pub fn new(
        sizes: [usize; 3],
        layout: Layout,
        parameters: Vec<Floats>,
        batch: Batch<'a>,
        level: SimdLevel,
    ) -> Self {
        let gradient = parameters.iter().map(|shard| vec![0.0; shard.len()].into()).collect();
        let workspace = Workspace::new(&sizes);
        let mut bench = Self { workspace, level, layout, parameters, gradient, batch, sizes };
        bench.run(Part::LoadBatch);
        bench.run(Part::Whole);
        bench
    }

    /// Returns the number of floating-point operations of a part: two for each fused multiply-add
    /// that the result needs.
    ///
    /// Operations between the products are not counted. Operations on padding are not counted
    /// either.
    #[must_use]
    pub fn flops(&self, part: Part) -> usize {
        let [n_features, n_hidden, n_classes] = self.sizes;
        let n_rows = self.batch.rows.len();
        let non_zeros: usize =
            self.batch.rows.iter().map(|&row| self.batch.examples.row(row).0.len()).sum();
        let (sparse, dense) = (2 * non_zeros * n_hidden, 2 * n_rows * n_hidden * n_classes);
        let squares = 2 * n_features * n_hidden;
        match part {
            Part::LoadBatch | Part::LoadSecond | Part::Softmax | Part::SpreadDeltas => 0,
            Part::ForwardFirst | Part::FirstGradient => sparse,
            Part::ForwardFirstWithSquares => sparse + squares,
            Part::ForwardSecond | Part::PassBack | Part::SecondGradient => dense,
            Part::Whole => 2 * sparse + squares + 3 * dense,
        }
    }

    /// Computes a part.
    pub fn run(&mut self, part: Part) {
        if part == Part::LoadBatch {
            return self.workspace.load_batch(self.batch);
        }
        let Self { workspace, layout, parameters, gradient, .. } = self;
        let parameters = Parameters::new(layout, parameters);
        let gradient = Gradient::new(layout, gradient);
        self.level.run(Run { part, workspace, parameters, gradient });
    }
}

struct Run<'a> {
    part: Part,
    workspace: &'a mut Workspace,
    parameters: Parameters<'a>,
    gradient: Gradient<'a>,
}

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { part, workspace, parameters, mut gradient } = self;
        match part {
            Part::LoadBatch => {}
            Part::ForwardFirst => {
                black_box(workspace.forward_first(lanes, parameters, Squares::NotWanted));
            }
            Part::ForwardFirstWithSquares => {
                black_box(workspace.forward_first(lanes, parameters, Squares::Wanted));
            }
            Part::LoadSecond => {
                black_box(workspace.load_weights(lanes, 1, parameters, Squares::Wanted, 0.0));
            }
            Part::ForwardSecond => workspace.forward_next(lanes, 1),
            Part::Softmax => {
                let Workspace { layers, labels, exps, .. } = workspace;
                let Layer { outputs, deltas, .. } = &mut layers[1];
                for row in 0..labels.len() {
                    deltas.row_mut(row).copy_from_slice(outputs.row(row));
                }
                black_box(softmax_cross_entropy(deltas, labels, exps));
            }
            Part::PassBack => workspace.pass_back(lanes, 1),
            Part::SpreadDeltas => workspace.spread_deltas(lanes),
            Part::SecondGradient => workspace.weight_gradient(lanes, 1, &mut gradient),
            Part::FirstGradient => workspace.first_gradient(lanes, &mut gradient),
            Part::Whole => {
                black_box(workspace.forward(lanes, parameters, Squares::Wanted));
                black_box(workspace.backward(lanes, &mut gradient));
            }
        }
    }
}

/// Independent chains of fused multiply-adds in registers. They measure the peak speed of a CPU
/// core.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// Number of fused multiply-adds per chain.
    pub rounds: usize,
}

/// Number of independent chains. To keep all units of the CPU busy, it must exceed the latency of
/// an operation (in cycles) times the number of operations that start per cycle.
const CHAINS: usize = 12;

impl Peak {
    /// Runs the chains, and returns the number of floating-point operations.
    #[must_use]
    pub fn run(self, level: SimdLevel) -> usize {
        level.run(self)
    }
}

impl Kernel for Peak {
    type Output = usize;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> usize {
        let (factor, term) = (lanes.splat(black_box(0.5)), lanes.splat(black_box(0.25)));
        let mut sums = [lanes.splat(black_box(1.0)); CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = lanes.mul_add(*sum, factor, term);
            }
        }
        black_box(L::floats(&sums));
        2 * self.rounds * CHAINS * L::LANES
    }
}
