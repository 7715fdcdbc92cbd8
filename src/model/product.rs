//! The dense matrix product: one chain of fused multiply-adds an element, in a register block.
//!
//! Blocks only choose which elements are computed together. The sum over k is never split.

use std::ops::Range;

use crate::model::lanes::Lanes;
use crate::model::matrix::Matrix;

/// The left operand, read in place by broadcasts, so that a transposition costs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Left<'a> {
    /// A matrix.
    Plain(&'a Matrix),
    /// The transpose of the first so many rows of a matrix.
    Transposed(&'a Matrix, usize),
}

/// Where a product goes: consecutive rows, `stride` apart, of `n_columns` each.
#[derive(Debug)]
pub(crate) struct Out<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) stride: usize,
    pub(crate) n_columns: usize,
}

impl Out<'_> {
    #[inline(always)]
    fn rest_of_row(&mut self, row: usize, column: usize) -> &mut [f32] {
        &mut self.values[row * self.stride + column..][..self.n_columns - column]
    }

    /// Stores vectors at a row and column; what reaches beyond the last column is dropped.
    #[inline(always)]
    pub(crate) fn store<L: Lanes, const NV: usize>(
        &mut self,
        (row, column): (usize, usize),
        vectors: &[L::V; NV],
    ) {
        let place = self.rest_of_row(row, column);
        if place.len() >= NV * L::LANES {
            let (place, _) = L::split_mut(place);
            for (place, vector) in place.iter_mut().zip(vectors) {
                *place = *vector;
            }
        } else {
            // A copy, so that the vectors themselves never need an address.
            let copy = *vectors;
            place.copy_from_slice(&L::floats(&copy)[..place.len()]);
        }
    }
}

/// The widest strip of columns that any kernel keeps in registers.
pub(crate) const MAX_STRIP: usize = 256;

/// The right operand: a padded matrix as vectors, `stride` of them a row.
struct Right<'a, V> {
    vectors: &'a [V],
    stride: usize,
}

impl<V> Clone for Right<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Right<'_, V> {}

/// Rows `rows` of `left · right` into `out`, whose first row is the first of them.
#[inline(always)]
pub(crate) fn product<L: Lanes>(
    lanes: L,
    left: Left<'_>,
    rows: Range<usize>,
    right: &Matrix,
    out: &mut Out<'_>,
) {
    let right = Right { vectors: L::split(right.values()).0, stride: right.stride() / L::LANES };
    let n_vectors = out.n_columns.div_ceil(L::LANES);
    let mut first = 0;
    while first < n_vectors {
        // AVX-512 and NEON have 32 registers, 24 of them for sums; AVX2 has 16, 12 for sums.
        // The padding is good enough to fill a block: what comes of it is not stored.
        first += match (L::REGISTERS >= 32, right.stride - first) {
            (true, 3..) => strip::<L, 8, 3>(lanes, left, rows.clone(), right, first, out),
            (true, 2) => strip::<L, 8, 2>(lanes, left, rows.clone(), right, first, out),
            (true, _) => strip::<L, 8, 1>(lanes, left, rows.clone(), right, first, out),
            (false, 2..) => strip::<L, 6, 2>(lanes, left, rows.clone(), right, first, out),
            (false, _) => strip::<L, 6, 1>(lanes, left, rows.clone(), right, first, out),
        };
    }
}

/// All rows of `NV` vectors of columns, from vector `first` on; returns `NV`.
#[inline(always)]
fn strip<L: Lanes, const MR: usize, const NV: usize>(
    lanes: L,
    left: Left<'_>,
    rows: Range<usize>,
    right: Right<'_, L::V>,
    first: usize,
    out: &mut Out<'_>,
) -> usize {
    let mut row = rows.start;
    while row < rows.end {
        let place = (row - rows.start, first * L::LANES);
        row += match rows.end - row {
            n if n >= MR => tile::<L, MR, NV>(lanes, left, row, right, first, place, out),
            4.. => tile::<L, 4, NV>(lanes, left, row, right, first, place, out),
            2.. => tile::<L, 2, NV>(lanes, left, row, right, first, place, out),
            _ => tile::<L, 1, NV>(lanes, left, row, right, first, place, out),
        };
    }
    NV
}

/// A block of `MR` rows and `NV` vectors, its sums in registers; returns `MR`.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "k runs over the columns of all rows at once")]
fn tile<L: Lanes, const MR: usize, const NV: usize>(
    lanes: L,
    left: Left<'_>,
    row: usize,
    right: Right<'_, L::V>,
    first: usize,
    (out_row, out_column): (usize, usize),
    out: &mut Out<'_>,
) -> usize {
    let zero = lanes.splat(0.0);
    let mut sums = [[zero; NV]; MR];
    let right_row = |k: usize| &right.vectors[k * right.stride + first..][..NV];
    match left {
        Left::Plain(left) => {
            let left_rows: [&[f32]; MR] = std::array::from_fn(|i| left.row(row + i));
            for k in 0..left.n_columns() {
                // Not `left_rows.map`, which is not inlined.
                let factors = std::array::from_fn(|i| left_rows[i][k]);
                add_products::<L, MR, NV>(lanes, factors, right_row(k), &mut sums);
            }
        }
        Left::Transposed(left, depth) => {
            let (values, stride) = (left.values(), left.stride());
            for k in 0..depth {
                let column = &values[k * stride + row..][..MR];
                let factors = std::array::from_fn(|i| column[i]);
                add_products::<L, MR, NV>(lanes, factors, right_row(k), &mut sums);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        // Adding +0 makes a zero positive, as it is when the terms with a zero factor are left out.
        let sums: [L::V; NV] = std::array::from_fn(|v| lanes.add(sums[v], zero));
        out.store::<L, NV>((out_row + i, out_column), &sums);
    }
    MR
}

#[inline(always)]
fn add_products<L: Lanes, const MR: usize, const NV: usize>(
    lanes: L,
    factors: [f32; MR],
    right_row: &[L::V],
    sums: &mut [[L::V; NV]; MR],
) {
    for i in 0..MR {
        let factor = lanes.splat(factors[i]);
        for v in 0..NV {
            sums[i][v] = lanes.mul_add(factor, right_row[v], sums[i][v]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::lanes::Kernel;
    use crate::model::simd::SimdLevel;
    use crate::model::testing::{assert_same_bits, matrix, value};

    struct Product<'a> {
        left: Left<'a>,
        rows: Range<usize>,
        right: &'a Matrix,
        out: &'a mut [f32],
    }

    impl Kernel for Product<'_> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            let n_columns = self.right.n_columns();
            let mut out = Out { values: self.out, stride: n_columns, n_columns };
            product(lanes, self.left, self.rows, self.right, &mut out);
        }
    }

    /// One element by the definition; `skip` leaves out the terms whose left factor is zero.
    fn chain(left: &[f32], right: impl Iterator<Item = f32>, skip: bool) -> f32 {
        let terms = left.iter().zip(right).filter(|(x, _)| !skip || **x != 0.0);
        terms.fold(0.0f32, |sum, (x, w)| x.mul_add(w, sum)) + 0.0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_product_is_its_chains_at_every_level_with_zeros_or_without(
            (m, depth, n) in (0usize..20, 0usize..9, 1usize..70),
            from in 0usize..20,
            values in prop::collection::vec(value(), 1..300),
        ) {
            let left = matrix(m, depth, &values, 0);
            let right = matrix(depth, n, &values, 1);
            let mut left_transposed = Matrix::new(depth, m);
            for i in 0..m {
                for k in 0..depth {
                    left_transposed.row_mut(k)[i] = left.row(i)[k];
                }
            }
            let rows = from.min(m)..m;
            let want: Vec<f32> = rows
                .clone()
                .flat_map(|i| (0..n).map(move |j| (i, j)))
                .map(|(i, j)| chain(left.row(i), (0..depth).map(|k| right.row(k)[j]), true))
                .collect();
            for level in SimdLevel::available() {
                for left in [Left::Plain(&left), Left::Transposed(&left_transposed, depth)] {
                    let mut out = vec![f32::NAN; want.len()];
                    let out_slice = &mut out[..];
                    level.run(Product { left, rows: rows.clone(), right: &right, out: out_slice });
                    assert_same_bits(&out, &want, &format!("{level}, {m}×{depth}×{n}"));
                }
            }
            for (i, want) in rows.zip(want.chunks(n)) {
                for (j, want) in want.iter().enumerate() {
                    let dense = chain(left.row(i), (0..depth).map(|k| right.row(k)[j]), false);
                    prop_assert_eq!(dense.to_bits(), want.to_bits());
                }
            }
        }
    }
}
