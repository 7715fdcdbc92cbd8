//! The functions of one element (rules 11 and 46).

use super::operation::{Backward, Forward, Operation, Start};
use crate::model::elementary::exp;
use crate::model::{Parameters, SimdLevel};
use unisono_core::network::Activation;

/// A layer that applies a function to each element.
#[derive(Debug)]
pub(crate) struct Elementwise(pub(crate) Activation);

impl Operation for Elementwise {
    fn begin(&mut self, _: &Start, _: Parameters<'_>, _: usize) {}

    fn forward(&mut self, _: SimdLevel, pass: Forward<'_>) {
        let pairs = pass.outputs.iter_mut().zip(pass.inputs);
        match self.0 {
            Activation::Relu => pairs.for_each(|(h, &z)| *h = if z < 0.0 { 0.0 } else { z }),
            Activation::Tanh => pairs.for_each(|(h, &z)| *h = tanh(z.into()) as f32),
            Activation::Sigmoid => pairs.for_each(|(h, &z)| *h = sigmoid(z.into()) as f32),
            Activation::Gelu => pairs.for_each(|(h, &z)| {
                let z = f64::from(z);
                *h = (z * distribution(z)) as f32;
            }),
        }
    }

    fn backward(&mut self, _: SimdLevel, pass: Backward<'_>) {
        let Backward { inputs, outputs, deltas, before: Some(before), .. } = pass else { return };
        let places = before.iter_mut().zip(deltas);
        let times = |delta: f32, slope: f64| (f64::from(delta) * slope) as f32;
        match self.0 {
            Activation::Relu => places
                .zip(outputs)
                .for_each(|((place, &delta), &h)| *place = if h > 0.0 { delta } else { 0.0 }),
            Activation::Tanh => places.zip(outputs).for_each(|((place, &delta), &h)| {
                let h = f64::from(h);
                *place = times(delta, 1.0 - h * h);
            }),
            Activation::Sigmoid => places.zip(outputs).for_each(|((place, &delta), &h)| {
                let h = f64::from(h);
                *place = times(delta, h * (1.0 - h));
            }),
            Activation::Gelu => places.zip(inputs).for_each(|((place, &delta), &z)| {
                let z = f64::from(z);
                *place = times(delta, distribution(z) + z * density(z));
            }),
        }
    }
}

/// Returns 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

/// Returns the hyperbolic tangent. Near 0, the quotient would lose digits, and x is closer than an
/// f32 can tell.
#[inline(always)]
fn tanh(x: f64) -> f64 {
    /// 2^-12. Below it, x³/3 is less than half a unit in the last place of an f32.
    const SMALL: f64 = 0.000_244_140_625;
    let e = exp(-2.0 * x.abs());
    let positive = (1.0 - e) / (1.0 + e);
    let value = if x < 0.0 { -positive } else { positive };
    if x.abs() < SMALL { x } else { value }
}

/// Returns the distribution function Φ of the standard normal distribution.
fn distribution(x: f64) -> f64 {
    0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// Returns the density of the standard normal distribution.
fn density(x: f64) -> f64 {
    /// 1/√(2π)
    const AT_ZERO: f64 = 0.398_942_280_401_432_7;
    AT_ZERO * exp((x * x) * -0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of Python's `math`, rounded to f32.
    #[test]
    fn functions_have_their_known_values() {
        let run = |activation, z: f32| {
            let mut outputs = [f32::NAN];
            let pass = Forward { examples: 0..1, inputs: &[z], outputs: &mut outputs };
            Elementwise(activation).forward(SimdLevel::Portable, pass);
            outputs[0]
        };
        assert_eq!(run(Activation::Sigmoid, 0.0), 0.5);
        assert_eq!(run(Activation::Sigmoid, 2.0), 0.880_797_1);
        assert_eq!(run(Activation::Sigmoid, -100.0), f32::from_bits(27));
        assert_eq!(run(Activation::Tanh, 0.5), 0.462_117_16);
        assert_eq!(run(Activation::Tanh, -0.5), -0.462_117_16);
        assert_eq!(run(Activation::Tanh, 1e-5), 1e-5);
        assert_eq!(run(Activation::Tanh, 0.01), 0.009_999_666);
        assert_eq!(run(Activation::Tanh, 100.0), 1.0);
        assert_eq!(run(Activation::Gelu, 1.0), 0.841_344_8);
        assert_eq!(run(Activation::Gelu, -0.5), -0.154_268_77);
        assert_eq!(run(Activation::Relu, -0.5), 0.0);
        for activation in
            [Activation::Relu, Activation::Tanh, Activation::Sigmoid, Activation::Gelu]
        {
            assert!(run(activation, f32::NAN).is_nan(), "{activation:?}");
        }
    }
}
