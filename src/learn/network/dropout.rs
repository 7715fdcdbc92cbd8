//! Dropout (rule 47).

use super::operation::{Backward, Forward, Operation, Start};
use crate::model::{Parameters, SimdLevel};

/// Replaces random elements by 0 during training.
#[derive(Debug)]
pub(crate) struct Dropout {
    /// The number of this layer among all layers of the network.
    layer: u64,
    n_values: usize,
    /// Words below this bound drop their element.
    bound: u64,
    /// The factor of elements that are kept.
    scale: f32,
    /// The factor of each element of the batch: `scale` or 0. Empty in an evaluation.
    factors: Vec<f32>,
}

impl Dropout {
    /// Creates a layer that drops the share `rate` of the elements.
    pub(crate) fn new(layer: u64, n_values: usize, rate: f64) -> Self {
        const WORDS: f64 = 4_294_967_296.0;
        let scale = (1.0 / (1.0 - rate)) as f32;
        Self { layer, n_values, bound: (rate * WORDS) as u64, scale, factors: Vec::new() }
    }

    fn apply(&self, first: usize, from: &[f32], to: &mut [f32]) {
        if self.factors.is_empty() {
            to.copy_from_slice(from);
            return;
        }
        let factors = &self.factors[first * self.n_values..][..to.len()];
        for ((place, x), &factor) in to.iter_mut().zip(from).zip(factors) {
            *place = if factor == 0.0 { 0.0 } else { x * factor };
        }
    }
}

impl Operation for Dropout {
    fn begin(&mut self, batch: &Start, _: Parameters<'_>, _: usize) {
        self.factors.clear();
        let Some(draw) = batch.draw else { return };
        let mut stream = draw.stream(self.layer);
        let (bound, scale) = (self.bound, self.scale);
        let mut factor = || if u64::from(stream.word()) < bound { 0.0 } else { scale };
        self.factors.extend((0..batch.n_examples * self.n_values).map(|_| factor()));
    }

    fn forward(&mut self, _: SimdLevel, pass: Forward<'_>) {
        self.apply(pass.examples.start, pass.inputs, pass.outputs);
    }

    fn backward(&mut self, _: SimdLevel, pass: Backward<'_>) {
        if let Some(before) = pass.before {
            self.apply(pass.examples.start, pass.deltas, before);
        }
    }
}
