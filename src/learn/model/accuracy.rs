//! The accuracy of a model.

use crate::data::Examples;
use crate::model::model::{Batch, Model, Parameters};

/// Number of examples per batch of an evaluation. This number does not affect the result.
const EXAMPLES_A_BATCH: usize = 100;

/// Returns the fraction of examples for which the logit of the label is the largest one.
///
/// Among equal logits, the first counts as the largest. A NaN counts as smaller than any number.
/// Without examples, the accuracy is NaN.
pub fn accuracy(model: &mut dyn Model, parameters: Parameters<'_>, examples: &Examples) -> f64 {
    let rows: Vec<_> = (0..examples.len()).collect();
    let mut logits = Vec::new();
    let mut n_right = 0;
    for rows in rows.chunks(EXAMPLES_A_BATCH) {
        model.logits(Batch::evaluation(examples, rows), parameters, &mut logits);
        for (&row, logits) in rows.iter().zip(logits.chunks(examples.n_classes())) {
            n_right += usize::from(first_maximum(logits) == examples.label(row) as usize);
        }
    }
    n_right as f64 / examples.len() as f64
}

fn first_maximum(logits: &[f32]) -> usize {
    // A comparison with a NaN is false, so a NaN never becomes the best.
    let mut best = (0, f32::NEG_INFINITY);
    for (class, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (class, logit);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layout::Layout;
    use crate::model::mlp::Mlp;
    use crate::model::simd::SimdLevel;
    use crate::model::testing::split;
    use unisono_core::train_config::Placement;

    #[test]
    fn first_of_equal_logits_is_predicted_and_nan_never() {
        assert_eq!(first_maximum(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(first_maximum(&[f32::NAN, -1.0, f32::NAN]), 1);
    }

    #[test]
    fn accuracy_counts_every_example_of_all_batches_once() {
        // With identity weights, the logits are the features, so the non-zero feature is predicted.
        let mut examples = Examples::new(3, 3);
        for i in 0..250u32 {
            let mut features = [0.0; 3];
            features[(i % 3) as usize] = 1.0;
            examples.push(features, if i < 25 { (i + 1) % 3 } else { i % 3 });
        }
        let mut model = Mlp::new(&[3, 3], 0.0, SimdLevel::detect());
        let layout = Layout::new(model.variables(), 1, Placement::Even);
        let identity = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let shards = split(&layout, &[identity, vec![0.0; 3]]);
        assert_eq!(accuracy(&mut model, Parameters::new(&layout, &shards), &examples), 0.9);
    }
}
