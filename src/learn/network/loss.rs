//! The losses (rules 12, 13 and 49).

use super::activation::sigmoid;
use crate::model::elementary::{exp, ln};
use crate::model::softmax::cross_entropy;
use unisono_core::network::Loss;

/// Returns the loss of one example. Replaces its outputs with the gradient of the batch's mean loss.
///
/// The target of output `label` is 1, and that of all other outputs is 0. If an output is infinite
/// or NaN, the loss and the gradient are NaN. `room` is scratch memory for one value per output.
pub(crate) fn loss_of(
    loss: Loss,
    outputs: &mut [f32],
    label: usize,
    n_examples: usize,
    room: &mut [f64],
) -> f64 {
    let n_examples = n_examples as f64;
    let each: fn(f64, f64) -> (f64, f64) = match loss {
        Loss::SoftmaxCrossEntropy => return cross_entropy(outputs, label, n_examples, room),
        Loss::SigmoidCrossEntropy => sigmoid_cross_entropy,
        Loss::MeanSquaredError => squared_error,
    };
    if !outputs.iter().all(|z| z.is_finite()) {
        outputs.fill(f32::NAN);
        return f64::NAN;
    }
    let n_outputs = outputs.len() as f64;
    let mut total = 0.0;
    for (class, z) in outputs.iter_mut().enumerate() {
        let target = if class == label { 1.0 } else { 0.0 };
        let (loss, slope) = each((*z).into(), target);
        total += loss;
        *z = (slope / n_outputs / n_examples) as f32;
    }
    total / n_outputs
}

/// Returns the cross-entropy of the sigmoid of an output, and its derivative.
fn sigmoid_cross_entropy(z: f64, target: f64) -> (f64, f64) {
    let positive = if z > 0.0 { z } else { 0.0 };
    ((positive - z * target) + ln(1.0 + exp(-z.abs())), sigmoid(z) - target)
}

/// Returns the squared difference from the target, and its derivative.
fn squared_error(z: f64, target: f64) -> (f64, f64) {
    let difference = z - target;
    (difference * difference, 2.0 * difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(loss: Loss, outputs: &[f32], label: usize) -> (f64, Vec<f32>) {
        let mut outputs = outputs.to_vec();
        let mut room = vec![0.0; outputs.len()];
        let loss = loss_of(loss, &mut outputs, label, 2, &mut room);
        (loss, outputs)
    }

    #[test]
    fn losses_and_slopes_have_their_known_values() {
        let (loss, slopes) = run(Loss::MeanSquaredError, &[0.5, 3.0], 1);
        assert_eq!((loss, slopes), (2.125, vec![0.25, 1.0]));
        let (loss, slopes) = run(Loss::SigmoidCrossEntropy, &[0.0, 0.0], 0);
        assert!((loss - std::f64::consts::LN_2).abs() < 1e-15, "{loss}");
        assert_eq!(slopes, [-0.125, 0.125]);
        // ln(1 + e^-100) is below the smallest difference of an f64 near 100.
        assert_eq!(run(Loss::SigmoidCrossEntropy, &[100.0], 1).0, 100.0);
        assert_eq!(run(Loss::SigmoidCrossEntropy, &[-100.0], 0).0, 100.0);
    }

    #[test]
    fn output_that_is_not_finite_makes_loss_and_slopes_nan() {
        for loss in [Loss::SoftmaxCrossEntropy, Loss::SigmoidCrossEntropy, Loss::MeanSquaredError] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let (loss, slopes) = run(loss, &[0.0, bad], 0);
                assert!(loss.is_nan() && slopes.iter().all(|slope| slope.is_nan()));
            }
        }
    }
}
