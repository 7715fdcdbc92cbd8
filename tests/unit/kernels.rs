//! Helpers for the tests of the kernels.

use ndarray::ArrayD;

use crate::model::layout::Layout;
use proptest::prelude::*;
use unisono_core::floats::Floats;

use crate::model::matrix::Matrix;

/// Returns finite values: ordinary values, zeros of both signs, subnormals, and values whose
/// products are subnormal.
pub(crate) fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -2.0f32..2.0,
        2 => Just(0.0f32),
        1 => Just(-0.0f32),
        1 => (0u32..0x0080_0000).prop_map(f32::from_bits),
        1 => (0u32..0x0080_0000).prop_map(|bits| -f32::from_bits(bits)),
        2 => (-1.0f32..1.0).prop_map(|x| x * 1e-22),
        1 => (-1.0f32..1.0).prop_map(|x| x * 1e15),
    ]
}

/// Returns a matrix that is filled with elements of `values`, which are repeated. `offset` is the
/// index of the first one, so that one list can fill different matrices.
pub(crate) fn matrix(n_rows: usize, n_columns: usize, values: &[f32], offset: usize) -> Matrix {
    let mut matrix = Matrix::new(n_rows, n_columns);
    for i in 0..n_rows {
        for j in 0..n_columns {
            let at = (i * n_columns + j) * 7 + offset * 13;
            matrix.row_mut(i)[j] = values[at % values.len()];
        }
    }
    matrix
}

/// Asserts that both slices have the same bits.
///
/// # Panics
/// At the first element whose bits differ.
pub(crate) fn assert_same_bits(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let (g, w) = (got.to_bits(), want.to_bits());
        assert_eq!(g, w, "{what}: element {i} is {got:e}, want {want:e}");
    }
}

/// Splits variables into shards. The values of each variable are in row-major order.
pub(crate) fn split(layout: &Layout, values: &[Vec<f32>]) -> Vec<Floats> {
    let arrays = layout.variables().iter().zip(values);
    layout
        .split(&arrays.map(|(variable, values)| variable.array(values.clone())).collect::<Vec<_>>())
}

/// Returns the values of all variables, each in row-major order.
pub(crate) fn gather(layout: &Layout, shards: &[Floats]) -> Vec<Vec<f32>> {
    layout.gather(shards).iter().map(flat).collect()
}

/// Returns the values of an array in row-major order.
pub(crate) fn flat(array: &ArrayD<f32>) -> Vec<f32> {
    array.iter().copied().collect()
}
