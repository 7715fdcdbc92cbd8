//! Layer normalisation (rule 48; Ba, Kiros and Hinton, 2016).

use super::operation::{Backward, Forward, Operation, Start};
use crate::model::{Gradient, Parameters, SimdLevel, Variable};

/// Normalises the channels of each position, or the features of each example.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    n_channels: usize,
    n_positions: usize,
    epsilon: f64,
    scale: Vec<f32>,
    offset: Vec<f32>,
    scale_gradient: Vec<f32>,
    offset_gradient: Vec<f32>,
    /// The sums of one example.
    sums: Vec<f32>,
    /// The mean, and the reciprocal of the standard deviation, of each position of the batch.
    moments: Vec<Moments>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    mean: f64,
    reciprocal: f64,
}

impl LayerNorm {
    /// Creates a layer on images of `n_positions` positions, or on features, with 1 position.
    pub(crate) fn new(n_positions: usize, n_channels: usize, epsilon: f64) -> Self {
        let zeros = || vec![0.0; n_channels];
        Self {
            n_channels,
            n_positions,
            epsilon,
            scale: zeros(),
            offset: zeros(),
            scale_gradient: zeros(),
            offset_gradient: zeros(),
            sums: vec![0.0; 2 * n_channels],
            moments: Vec::new(),
        }
    }
}

impl Moments {
    fn of(values: &[f32], epsilon: f64) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().fold(0.0, |sum, &x| sum + f64::from(x)) / n;
        let square = |x: f32| (f64::from(x) - mean) * (f64::from(x) - mean);
        let variance = values.iter().fold(0.0, |sum, &x| sum + square(x)) / n;
        Self { mean, reciprocal: 1.0 / (variance + epsilon).sqrt() }
    }

    fn normal(self, x: f32) -> f32 {
        ((f64::from(x) - self.mean) * self.reciprocal) as f32
    }
}

impl Operation for LayerNorm {
    fn variables(&self) -> Vec<Variable> {
        let variable = |name| Variable::new(name, &[self.n_channels]);
        vec![variable("scale"), variable("offset")]
    }

    fn initial_value(&self, variable: usize) -> f32 {
        if variable == 0 { 1.0 } else { 0.0 }
    }

    fn begin(&mut self, batch: &Start, parameters: Parameters<'_>, first: usize) {
        parameters.read_into(first, &mut self.scale);
        parameters.read_into(first + 1, &mut self.offset);
        self.scale_gradient.fill(0.0);
        self.offset_gradient.fill(0.0);
        let n_positions = batch.n_examples * self.n_positions;
        if self.moments.len() < n_positions {
            self.moments.resize(n_positions, Moments::default());
        }
    }

    fn forward(&mut self, _: SimdLevel, pass: Forward<'_>) {
        let Self { n_channels, epsilon, scale, offset, .. } = self;
        let moments = &mut self.moments[pass.examples.start * self.n_positions..];
        let inputs = pass.inputs.chunks_exact(*n_channels);
        let outputs = pass.outputs.chunks_exact_mut(*n_channels);
        for ((inputs, outputs), moments) in inputs.zip(outputs).zip(moments) {
            *moments = Moments::of(inputs, *epsilon);
            let parameters = scale.iter().zip(&*offset);
            for ((y, &x), (scale, offset)) in outputs.iter_mut().zip(inputs).zip(parameters) {
                *y = moments.normal(x) * scale + offset;
            }
        }
    }

    fn backward(&mut self, _: SimdLevel, pass: Backward<'_>) {
        let n_channels = self.n_channels;
        let n_values = self.n_positions * n_channels;
        let mut before = pass.before.map(|before| before.chunks_exact_mut(n_channels));
        let examples = pass.inputs.chunks_exact(n_values).zip(pass.deltas.chunks_exact(n_values));
        for (example, (inputs, deltas)) in pass.examples.zip(examples) {
            let moments = &self.moments[example * self.n_positions..][..self.n_positions];
            let (scale_sums, offset_sums) = self.sums.split_at_mut(n_channels);
            scale_sums.fill(0.0);
            offset_sums.fill(0.0);
            let positions = inputs.chunks_exact(n_channels).zip(deltas.chunks_exact(n_channels));
            for ((inputs, deltas), moments) in positions.zip(moments) {
                let sums = scale_sums.iter_mut().zip(&mut *offset_sums);
                for ((scale, offset), (&x, &delta)) in sums.zip(inputs.iter().zip(deltas)) {
                    *scale += delta * moments.normal(x);
                    *offset += delta;
                }
                if let Some(before) = before.as_mut().and_then(Iterator::next) {
                    pass_back(*moments, &self.scale, inputs, deltas, before);
                }
            }
            let add = |totals: &mut [f32], sums: &[f32]| {
                totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            };
            add(&mut self.scale_gradient, scale_sums);
            add(&mut self.offset_gradient, offset_sums);
        }
    }

    fn write_gradient(&self, gradient: &mut Gradient<'_>, first: usize) {
        gradient.write_flat(first, &self.scale_gradient);
        gradient.write_flat(first + 1, &self.offset_gradient);
    }
}

/// Computes the deltas of the inputs of one position.
fn pass_back(moments: Moments, scale: &[f32], inputs: &[f32], deltas: &[f32], before: &mut [f32]) {
    let n = inputs.len() as f64;
    let slope = |delta: f32, scale: f32| f64::from(delta) * f64::from(scale);
    let (mut sum, mut product) = (0.0, 0.0);
    for ((&x, &delta), &scale) in inputs.iter().zip(deltas).zip(scale) {
        sum += slope(delta, scale);
        product += slope(delta, scale) * f64::from(moments.normal(x));
    }
    let (sum, product) = (sum / n, product / n);
    for (place, ((&x, &delta), &scale)) in
        before.iter_mut().zip(inputs.iter().zip(deltas).zip(scale))
    {
        let rest = (slope(delta, scale) - sum) - f64::from(moments.normal(x)) * product;
        *place = (moments.reciprocal * rest) as f32;
    }
}
