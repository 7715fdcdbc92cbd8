//! Max pooling and average pooling (rules 44 and 45).

use super::operation::{Backward, Forward, Operation, Start};
use super::shape::Windows;
use crate::model::lanes::{Kernel, Lanes};
use crate::model::{Parameters, SimdLevel};
use unisono_core::network::PoolKind;

/// The largest element, or the mean, of each window of each channel.
#[derive(Debug)]
pub(crate) struct Pool {
    kind: PoolKind,
    n_channels: usize,
    /// The positions of the windows: window w has `positions[starts[w]..starts[w + 1]]`.
    positions: Vec<u32>,
    starts: Vec<usize>,
    /// For max pooling, the position of each output's input, for all examples of the batch.
    chosen: Vec<u32>,
}

impl Pool {
    /// Creates a layer on images of `n_channels` channels.
    pub(crate) fn new(kind: PoolKind, n_channels: usize, windows: Windows) -> Self {
        let mut positions = Vec::new();
        let mut starts = vec![0];
        for inside in windows.positions() {
            positions.extend(inside.map(|position| position as u32));
            starts.push(positions.len());
        }
        Self { kind, n_channels, positions, starts, chosen: Vec::new() }
    }

    const fn n_outputs(&self) -> usize {
        (self.starts.len() - 1) * self.n_channels
    }

    fn windows(&self) -> impl Iterator<Item = &[u32]> {
        self.starts.windows(2).map(|pair| &self.positions[pair[0]..pair[1]])
    }

    fn forward_maximum(
        &mut self,
        level: SimdLevel,
        example: usize,
        inputs: &[f32],
        outputs: &mut [f32],
    ) {
        let (n_channels, n_outputs) = (self.n_channels, self.n_outputs());
        let Self { positions, starts, chosen, .. } = self;
        let chosen = &mut chosen[example * n_outputs..][..n_outputs];
        level.run(Maximum { positions, starts, inputs, n_channels, outputs, chosen });
    }

    fn forward_average(&self, inputs: &[f32], outputs: &mut [f32]) {
        for (window, means) in self.windows().zip(outputs.chunks_exact_mut(self.n_channels)) {
            means.fill(0.0);
            for &position in window {
                let values = at(inputs, position, self.n_channels);
                means.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
            }
            let count = window.len() as f32;
            means.iter_mut().for_each(|sum| *sum /= count);
        }
    }

    fn backward_maximum(&self, example: usize, deltas: &[f32], before: &mut [f32]) {
        let chosen = &self.chosen[example * self.n_outputs()..][..self.n_outputs()];
        before.fill(0.0);
        let windows = deltas.chunks_exact(self.n_channels);
        for (deltas, chosen) in windows.zip(chosen.chunks_exact(self.n_channels)) {
            for (channel, (delta, position)) in deltas.iter().zip(chosen).enumerate() {
                before[*position as usize * self.n_channels + channel] += delta;
            }
        }
    }

    fn backward_average(&self, deltas: &[f32], before: &mut [f32]) {
        before.fill(0.0);
        for (window, deltas) in self.windows().zip(deltas.chunks_exact(self.n_channels)) {
            let count = window.len() as f32;
            for &position in window {
                let start = position as usize * self.n_channels;
                let places = &mut before[start..][..self.n_channels];
                places.iter_mut().zip(deltas).for_each(|(sum, delta)| *sum += delta / count);
            }
        }
    }
}

/// Finds the largest element of each window and channel of an example.
struct Maximum<'a> {
    positions: &'a [u32],
    starts: &'a [usize],
    inputs: &'a [f32],
    n_channels: usize,
    outputs: &'a mut [f32],
    chosen: &'a mut [u32],
}

impl Kernel for Maximum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Self { positions, starts, inputs, n_channels, outputs, chosen } = self;
        let places = outputs.chunks_exact_mut(n_channels).zip(chosen.chunks_exact_mut(n_channels));
        for (pair, (largest, chosen)) in starts.windows(2).zip(places) {
            let window = &positions[pair[0]..pair[1]];
            largest.copy_from_slice(at(inputs, window[0], n_channels));
            chosen.fill(window[0]);
            for &position in &window[1..] {
                let others = at(inputs, position, n_channels);
                for ((largest, chosen), &x) in largest.iter_mut().zip(&mut *chosen).zip(others) {
                    // Without a branch, so that the loop vectorises.
                    let is_chosen = (x > *largest) | x.is_nan();
                    *largest = if is_chosen { x } else { *largest };
                    *chosen = if is_chosen { position } else { *chosen };
                }
            }
        }
    }
}

/// Returns the channels of a position.
#[inline(always)]
fn at(values: &[f32], position: u32, n_channels: usize) -> &[f32] {
    &values[position as usize * n_channels..][..n_channels]
}

impl Operation for Pool {
    fn begin(&mut self, batch: &Start, _: Parameters<'_>, _: usize) {
        let n_chosen = batch.n_examples * self.n_outputs();
        if self.kind == PoolKind::Max && self.chosen.len() < n_chosen {
            self.chosen.resize(n_chosen, 0);
        }
    }

    fn forward(&mut self, level: SimdLevel, pass: Forward<'_>) {
        let Forward { examples, inputs, outputs } = pass;
        let inputs = inputs.chunks_exact(inputs.len() / examples.len());
        let outputs = outputs.chunks_exact_mut(self.n_outputs());
        for ((example, inputs), outputs) in examples.zip(inputs).zip(outputs) {
            match self.kind {
                PoolKind::Max => self.forward_maximum(level, example, inputs, outputs),
                PoolKind::Average => self.forward_average(inputs, outputs),
            }
        }
    }

    fn backward(&mut self, _: SimdLevel, pass: Backward<'_>) {
        let Backward { examples, deltas, before: Some(before), .. } = pass else { return };
        let before = before.chunks_exact_mut(before.len() / examples.len());
        let deltas = deltas.chunks_exact(self.n_outputs());
        for ((example, deltas), before) in examples.zip(deltas).zip(before) {
            match self.kind {
                PoolKind::Max => self.backward_maximum(example, deltas, before),
                PoolKind::Average => self.backward_average(deltas, before),
            }
        }
    }
}
