//! The mean sparse softmax cross-entropy and its gradient with respect to the logits.

use crate::model::elementary::{exp, ln};
use crate::model::matrix::Matrix;

/// Returns the mean cross-entropy of the first `labels.len()` rows of `logits`. Replaces these rows
/// with the gradient of the mean.
///
/// All arithmetic is in f64. Sums add the rows and the classes in ascending order. Only the
/// gradient is rounded to f32, at the end. If a logit of a row is infinite or NaN, the loss of the
/// row and the mean are NaN. `exps` is scratch memory for one value per class.
#[inline(always)]
pub(crate) fn softmax_cross_entropy(logits: &mut Matrix, labels: &[u32], exps: &mut [f64]) -> f64 {
    let n_rows = labels.len() as f64;
    let mut total = 0.0;
    for (row, &label) in labels.iter().enumerate() {
        total += cross_entropy(logits.row_mut(row), label as usize, n_rows, exps);
    }
    total / n_rows
}

/// Returns the cross-entropy of one row. Replaces the row with the gradient of the mean
/// cross-entropy with respect to this row.
#[inline(always)]
pub(crate) fn cross_entropy(row: &mut [f32], label: usize, n_rows: f64, exps: &mut [f64]) -> f64 {
    if !row.iter().all(|z| z.is_finite()) {
        row.fill(f32::NAN);
        return f64::NAN;
    }
    let max = row.iter().fold(row[0], |max, &z| if z > max { z } else { max });
    let shifted = |z: f32| f64::from(z) - f64::from(max);
    // This loop is separate from the next one, so that it vectorises.
    for (e, &z) in exps.iter_mut().zip(&*row) {
        *e = exp(shifted(z));
    }
    let sum = exps.iter().fold(0.0, |sum, e| sum + e);
    let loss = ln(sum) - shifted(row[label]);
    let label_gradient = ((exps[label] / sum - 1.0) / n_rows) as f32;
    for (z, e) in row.iter_mut().zip(&*exps) {
        *z = (e / sum / n_rows) as f32;
    }
    row[label] = label_gradient;
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(rows: &[&[f32]]) -> Matrix {
        let mut matrix = Matrix::new(rows.len(), rows[0].len());
        for (i, row) in rows.iter().enumerate() {
            matrix.row_mut(i).copy_from_slice(row);
        }
        matrix
    }

    #[test]
    fn loss_of_equal_logits_is_the_logarithm_of_the_number_of_classes() {
        let mut logits = logits(&[&[3.0; 4], &[-7.0; 4]]);
        let loss = softmax_cross_entropy(&mut logits, &[1, 2], &mut [0.0; 4]);
        assert_eq!(loss, 2.0 * std::f64::consts::LN_2);
        assert_eq!(logits.row(0), [0.125, -0.375, 0.125, 0.125]);
        assert_eq!(logits.row(1), [0.125, 0.125, -0.375, 0.125]);
    }

    #[test]
    fn any_non_finite_logit_makes_the_loss_non_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in 0..3 {
                let mut row = [0.5, 1.0, -1.0];
                row[place] = bad;
                for label in 0..3 {
                    let mut logits = logits(&[&[1.0, 2.0, 3.0], &row]);
                    assert!(
                        !softmax_cross_entropy(&mut logits, &[0, label], &mut [0.0; 3]).is_finite()
                    );
                }
            }
        }
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let mut logits = logits(&[&[f32::MAX, f32::MIN, 0.0]]);
        assert_eq!(softmax_cross_entropy(&mut logits, &[0], &mut [0.0; 3]), 0.0);
        assert_eq!(logits.row(0), [0.0; 3]);
    }
}
