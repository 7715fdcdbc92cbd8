//! The loops over single elements between two products.
//!
//! Plain f32 operations, each rounded once: the compiler may vectorise them, and changes no bit.
//! The choices are expressions, not conditional stores, so that they become selects.

use crate::model::matrix::Matrix;

/// What becomes of a layer's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing more: the last layer's are the logits.
    None,
    /// `max(z, 0)`, so that a NaN stays one.
    Relu,
}

/// Adds the bias to each of the first `n_rows` rows, and applies the activation.
#[inline(always)]
pub(crate) fn add_bias(sums: &mut Matrix, n_rows: usize, bias: &[f32], activation: Activation) {
    for row in 0..n_rows {
        let row = sums.row_mut(row).iter_mut().zip(bias);
        match activation {
            Activation::None => row.for_each(|(z, &b)| *z += b),
            Activation::Relu => row.for_each(|(z, &b)| {
                let sum = *z + b;
                *z = if sum < 0.0 { 0.0 } else { sum };
            }),
        }
    }
}

/// ReLU's derivative: a delta passes where the layer's output is above zero, and else is +0.
#[inline(always)]
pub(crate) fn mask_by_relu(deltas: &mut Matrix, n_rows: usize, outputs: &Matrix) {
    for row in 0..n_rows {
        for (delta, &output) in deltas.row_mut(row).iter_mut().zip(outputs.row(row)) {
            *delta = if output > 0.0 { *delta } else { 0.0 };
        }
    }
}

/// The sum of each column over the first `n_rows` rows: a chain of additions, ascending, from +0.
#[inline(always)]
pub(crate) fn column_sums(matrix: &Matrix, n_rows: usize, sums: &mut [f32]) {
    sums.fill(0.0);
    for row in 0..n_rows {
        for (sum, &x) in sums.iter_mut().zip(matrix.row(row)) {
            *sum += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_keeps_nan_and_cuts_below_zero() {
        let mut sums = Matrix::new(1, 4);
        sums.row_mut(0).copy_from_slice(&[f32::NAN, -1.0, 0.5, 3.0]);
        add_bias(&mut sums, 1, &[0.0, 0.5, -1.0, 1.0], Activation::Relu);
        assert!(sums.row(0)[0].is_nan());
        assert_eq!(sums.row(0)[1..], [0.0, 0.0, 4.0]);
    }

    #[test]
    fn no_activation_leaves_negative_sums() {
        let mut sums = Matrix::new(2, 1);
        add_bias(&mut sums, 1, &[-2.0], Activation::None);
        assert_eq!((sums.row(0)[0], sums.row(1)[0]), (-2.0, 0.0));
    }

    #[test]
    fn a_delta_passes_only_where_the_output_is_above_zero() {
        let (mut deltas, mut outputs) = (Matrix::new(1, 3), Matrix::new(1, 3));
        deltas.row_mut(0).copy_from_slice(&[1.0, -2.0, -3.0]);
        outputs.row_mut(0).copy_from_slice(&[0.0, f32::from_bits(1), -0.0]);
        mask_by_relu(&mut deltas, 1, &outputs);
        assert_eq!(
            deltas.row(0).iter().map(|d| d.to_bits()).collect::<Vec<_>>(),
            [0.0f32.to_bits(), (-2.0f32).to_bits(), 0.0f32.to_bits()]
        );
    }

    #[test]
    fn column_sums_go_down_the_rows_in_order() {
        let mut matrix = Matrix::new(3, 1);
        for (row, x) in [1.0, f32::EPSILON / 2.0, f32::EPSILON / 2.0].into_iter().enumerate() {
            matrix.row_mut(row)[0] = x;
        }
        let mut sums = [7.0];
        column_sums(&matrix, 3, &mut sums);
        assert_eq!(sums, [1.0]);
    }
}
