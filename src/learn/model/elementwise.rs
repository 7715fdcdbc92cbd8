//! The loops over single elements between two matrix products.
//!
//! Every operation is a plain f32 operation that rounds once, so vectorisation changes no bit of
//! the results. Conditions are written as expressions rather than as conditional stores, so that
//! the compiler uses select instructions.

use crate::model::lanes::Lanes;
use crate::model::matrix::Matrix;

/// The activation function of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// The identity. It is used for the last layer, whose sums are the logits.
    None,
    /// `max(z, 0)`. A NaN stays a NaN.
    Relu,
}

/// Adds the bias to each of the first `n_rows` rows, and then applies the activation.
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

/// Writes the sum of each column over the first `n_rows` rows into `sums`.
///
/// Each sum is a chain of additions over ascending rows, starting at +0. `sums` has the length of a
/// padded row of the matrix.
#[inline(always)]
pub(crate) fn column_sums<L: Lanes>(lanes: L, matrix: &Matrix, n_rows: usize, sums: &mut [f32]) {
    sums.fill(0.0);
    let sums = L::split_mut(sums).0;
    for row in 0..n_rows {
        for (sum, x) in sums.iter_mut().zip(L::split(matrix.padded_row(row)).0) {
            *sum = lanes.add(*sum, *x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lanes::Kernel;
    use crate::model::simd::SimdLevel;

    #[test]
    fn relu_keeps_nan_and_replaces_negative_sums_by_zero() {
        let mut sums = Matrix::new(1, 4);
        sums.row_mut(0).copy_from_slice(&[f32::NAN, -1.0, 0.5, 3.0]);
        add_bias(&mut sums, 1, &[0.0, 0.5, -1.0, 1.0], Activation::Relu);
        assert!(sums.row(0)[0].is_nan());
        assert_eq!(sums.row(0)[1..], [0.0, 0.0, 4.0]);
    }

    #[test]
    fn negative_sums_are_kept_without_an_activation() {
        let mut sums = Matrix::new(2, 1);
        add_bias(&mut sums, 1, &[-2.0], Activation::None);
        assert_eq!((sums.row(0)[0], sums.row(1)[0]), (-2.0, 0.0));
    }

    struct ColumnSums<'a>(&'a Matrix, &'a mut [f32]);

    impl Kernel for ColumnSums<'_> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            column_sums(lanes, self.0, 3, self.1);
        }
    }

    #[test]
    fn column_sums_add_the_rows_in_ascending_order() {
        let mut matrix = Matrix::new(3, 2);
        // Half an epsilon is lost when it is added to 1. If the two halves were first added to each
        // other, their sum would not be lost.
        for (row, x) in [1.0, f32::EPSILON / 2.0, f32::EPSILON / 2.0].into_iter().enumerate() {
            matrix.row_mut(row).copy_from_slice(&[x, -x]);
        }
        for level in SimdLevel::available() {
            let mut sums = [7.0; 16];
            level.run(ColumnSums(&matrix, &mut sums));
            assert_eq!(sums[..3], [1.0, -1.0, 0.0], "{level}");
        }
    }
}
