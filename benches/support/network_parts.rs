//! Runs the layers of a network separately, for `benches/network.rs`.

use super::*;
use crate::model::Layout;
use unisono_core::floats::{Buffer, Floats};

/// A part of the computation of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Reading the batch and the parameters.
    Begin,
    /// One layer, for all examples, from its inputs to its outputs.
    Forward(usize),
    /// One layer, for all examples, from the deltas of its outputs to those of its inputs, with the
    /// gradient of its variables.
    Backward(usize),
    /// A whole gradient.
    Whole,
}

/// A network with a batch, parameters in one shard, and buffers for a gradient.
#[derive(Debug)]
pub struct Bench<'a> {
    network: Network,
    layout: &'a Layout,
    parameters: &'a [Floats],
    gradient: Vec<Buffer>,
    batch: Batch<'a>,
}

impl<'a> Bench<'a> {
    /// Creates a benchmark, and computes a whole gradient once, so that every part has its inputs.
    #[must_use]
    pub fn new(
        network: Network,
        layout: &'a Layout,
        parameters: &'a [Floats],
        batch: Batch<'a>,
    ) -> Self {
        let gradient = parameters.iter().map(|shard| vec![0.0; shard.len()].into()).collect();
        let mut bench = Self { network, layout, parameters, gradient, batch };
        bench.run(Part::Whole);
        bench
    }

    /// Returns all parts.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let n_layers = self.network.layers.len();
        let layers =
            (0..n_layers).map(Part::Forward).chain((0..n_layers).rev().map(Part::Backward));
        [Part::Begin].into_iter().chain(layers).chain([Part::Whole]).collect()
    }

    /// Returns the number of floating-point operations of a part: two for each fused multiply-add
    /// of a dense layer or a convolution, with those of the padding.
    #[must_use]
    pub fn flops(&self, part: Part) -> usize {
        let forward = |layer: usize| {
            let variables = self.network.layers[layer].operation.variables();
            let Some(weights) = variables.first().filter(|it| it.shape.len() > 1) else { return 0 };
            let n_filters = weights.shape[weights.shape.len() - 1];
            let n_positions = self.network.edges[layer + 1].n_values / n_filters;
            2 * weights.n_elements() * n_positions * self.batch.rows.len()
        };
        let backward = |layer: usize| if layer == 0 { forward(0) } else { 2 * forward(layer) };
        let layers = 0..self.network.layers.len();
        match part {
            Part::Begin => 0,
            Part::Forward(layer) => forward(layer),
            Part::Backward(layer) => backward(layer),
            Part::Whole => layers.map(|layer| forward(layer) + backward(layer)).sum(),
        }
    }

    /// Computes a part.
    pub fn run(&mut self, part: Part) {
        let parameters = Parameters::new(self.layout, self.parameters);
        let n_examples = self.batch.rows.len();
        let parts_of = |network: &Network, layer: usize| {
            let at_once = network.layers[layer].operation.takes_whole_batches();
            parts(n_examples, at_once)
        };
        match part {
            Part::Begin => self.network.begin(self.batch, parameters),
            Part::Forward(layer) => {
                for examples in parts_of(&self.network, layer) {
                    self.network.forward_layer(layer, examples);
                }
            }
            Part::Backward(layer) => {
                for examples in parts_of(&self.network, layer) {
                    self.network.backward_layer(layer, examples);
                }
            }
            Part::Whole => {
                let gradient = Gradient::new(self.layout, &mut self.gradient);
                self.network.gradient(self.batch, parameters, gradient);
            }
        }
    }
}
