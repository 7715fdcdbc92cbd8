//! A sparse left operand, and its product with a dense one: the same chains, zeros left out.
//!
//! The columns of the result go through the registers strip by strip; within a strip the terms go
//! block by block, so that the rows of the right operand that a block needs stay in the L1 cache.

use std::ops::Range;

use crate::model::lanes::Lanes;
use crate::model::matrix::Matrix;
use crate::model::product::{MAX_STRIP, Out};

/// One non-zero element of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Entry {
    column: u32,
    value: f32,
}

/// A sparse matrix: compressed rows, stored block of columns by block of columns.
#[derive(Debug, Default)]
pub(crate) struct SparseMatrix {
    n_rows: usize,
    n_columns: usize,
    /// Columns a block.
    block: usize,
    /// Where the entries of (block, row) start, at `block · n_rows + row`; and one end.
    starts: Vec<usize>,
    /// Ascending by column within a (block, row).
    entries: Vec<Entry>,
}

impl SparseMatrix {
    /// Fills it with the given rows, each its non-zero columns, ascending, and their values.
    pub(crate) fn fill<'a>(
        &mut self,
        n_columns: usize,
        block: usize,
        rows: impl Iterator<Item = (&'a [u32], &'a [f32])> + Clone,
    ) {
        let n_rows = rows.clone().count();
        self.reset(n_rows, n_columns, block);
        for (row, (columns, _)) in rows.clone().enumerate() {
            for (i, part) in parts(columns, block).enumerate() {
                self.starts[i * n_rows + row + 1] = part.len();
            }
        }
        self.accumulate_starts();
        for (row, (columns, values)) in rows.enumerate() {
            for (i, part) in parts(columns, block).enumerate() {
                let entries = &mut self.entries[self.starts[i * n_rows + row]..];
                let pairs = columns[part.clone()].iter().zip(&values[part]);
                for (entry, (&column, &value)) in entries.iter_mut().zip(pairs) {
                    *entry = Entry { column, value };
                }
            }
        }
    }

    /// Fills it with the transpose of another one, in one block.
    pub(crate) fn fill_transposed(&mut self, other: &Self) {
        self.reset(other.n_columns, other.n_rows, other.n_rows.max(1));
        for entry in &other.entries {
            self.starts[entry.column as usize + 1] += 1;
        }
        self.accumulate_starts();
        for block in 0..other.n_blocks() {
            for row in 0..other.n_rows {
                for entry in other.entries(block, row) {
                    let next = &mut self.starts[entry.column as usize];
                    self.entries[*next] = Entry { column: row as u32, value: entry.value };
                    *next += 1;
                }
            }
        }
        self.shift_starts();
    }

    fn reset(&mut self, n_rows: usize, n_columns: usize, block: usize) {
        (self.n_rows, self.n_columns, self.block) = (n_rows, n_columns, block);
        self.starts.clear();
        self.starts.resize(self.n_blocks() * n_rows + 1, 0);
    }

    /// Turns counts, each one place late, into starts, and makes room for the entries.
    fn accumulate_starts(&mut self) {
        for i in 1..self.starts.len() {
            self.starts[i] += self.starts[i - 1];
        }
        let n_entries = self.starts[self.starts.len() - 1];
        self.entries.resize(n_entries, Entry::default());
    }

    /// Filling moved every start to its end, which is the next one's start.
    fn shift_starts(&mut self) {
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    /// At least 1, so that a matrix without columns still has a product, of zeros.
    fn n_blocks(&self) -> usize {
        self.n_columns.div_ceil(self.block).max(1)
    }

    #[inline(always)]
    fn entries(&self, block: usize, row: usize) -> &[Entry] {
        let at = block * self.n_rows + row;
        &self.entries[self.starts[at]..self.starts[at + 1]]
    }
}

/// Where the columns of each block are among the ascending columns of a row.
fn parts(columns: &[u32], block: usize) -> impl Iterator<Item = Range<usize>> {
    let (mut start, mut limit) = (0, block as u32);
    std::iter::from_fn(move || {
        if start == columns.len() {
            return None;
        }
        let len = columns[start..].partition_point(|&column| column < limit);
        limit += block as u32;
        start += len;
        Some(start - len..start)
    })
}

/// Rows `rows` of `left · right` into `out`, whose first row is the first of them.
#[inline(always)]
pub(crate) fn sparse_product<L: Lanes>(
    lanes: L,
    left: &SparseMatrix,
    rows: Range<usize>,
    right: &Matrix,
    out: &mut Out<'_>,
) {
    let n_vectors = out.n_columns.div_ceil(L::LANES);
    let stride = right.stride() / L::LANES;
    let mut first = 0;
    while first < n_vectors {
        let operands = Operands { left, right: L::split(right.values()).0, stride, first };
        first += match stride - first {
            8.. => strip::<L, 8>(lanes, operands, rows.clone(), out),
            4.. => strip::<L, 4>(lanes, operands, rows.clone(), out),
            2.. => strip::<L, 2>(lanes, operands, rows.clone(), out),
            _ => strip::<L, 1>(lanes, operands, rows.clone(), out),
        };
    }
}

/// The operands, and the vector of columns at which a strip begins; `stride` is in vectors, too.
struct Operands<'a, V> {
    left: &'a SparseMatrix,
    right: &'a [V],
    stride: usize,
    first: usize,
}

/// All rows of `NV` vectors of columns; returns `NV`.
#[inline(always)]
fn strip<L: Lanes, const NV: usize>(
    lanes: L,
    operands: Operands<'_, L::V>,
    rows: Range<usize>,
    out: &mut Out<'_>,
) -> usize {
    const { assert!(NV * L::LANES <= MAX_STRIP) };
    let zero = lanes.splat(0.0);
    let Operands { left, right, stride, first } = operands;
    let last_block = left.n_blocks() - 1;
    for block in 0..=last_block {
        for row in rows.clone() {
            let place = (row - rows.start, first * L::LANES);
            let mut sums = if block == 0 { [zero; NV] } else { out.load::<L, NV>(lanes, place) };
            for entry in left.entries(block, row) {
                let right_row = &right[entry.column as usize * stride + first..][..NV];
                let factor = lanes.splat(entry.value);
                for v in 0..NV {
                    sums[v] = lanes.mul_add(factor, right_row[v], sums[v]);
                }
            }
            if block == last_block {
                for sum in &mut sums {
                    *sum = lanes.add(*sum, zero);
                }
            }
            out.store::<L, NV>(place, &sums);
        }
    }
    NV
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::lanes::Kernel;
    use crate::model::simd::SimdLevel;
    use crate::model::testing::{assert_same_bits, matrix, value};

    struct Product<'a> {
        left: &'a SparseMatrix,
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
            sparse_product(lanes, self.left, self.rows, self.right, &mut out);
        }
    }

    /// Columns and values of the non-zero elements of each row.
    fn sparse_rows(dense: &Matrix, n_rows: usize) -> Vec<(Vec<u32>, Vec<f32>)> {
        let row = |i| {
            let columns = (0..dense.n_columns()).filter(|&k| dense.row(i)[k] != 0.0);
            columns.map(|k| (k as u32, dense.row(i)[k])).unzip()
        };
        (0..n_rows).map(row).collect()
    }

    fn chain(left: impl Iterator<Item = f32>, right: impl Iterator<Item = f32>) -> f32 {
        let terms = left.zip(right).filter(|(x, _)| *x != 0.0);
        terms.fold(0.0f32, |sum, (x, w)| x.mul_add(w, sum)) + 0.0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_sparse_product_is_its_chains_at_every_level_in_any_blocks(
            (m, depth, n) in (0usize..6, 0usize..20, 1usize..150),
            block in 1usize..25,
            from in 0usize..6,
            values in prop::collection::vec(value(), 1..300),
        ) {
            let dense = matrix(m, depth, &values, 0);
            let right = matrix(depth, n, &values, 1);
            let other = matrix(m, n, &values, 2);
            let rows = sparse_rows(&dense, m);
            let mut left = SparseMatrix::default();
            left.fill(depth, block, rows.iter().map(|(c, v)| (&c[..], &v[..])));
            let mut transposed = SparseMatrix::default();
            transposed.fill_transposed(&left);

            let range = from.min(m)..m;
            let places = range.clone().flat_map(|i| (0..n).map(move |j| (i, j)));
            let want: Vec<f32> = places
                .map(|(i, j)| chain(dense.row(i).iter().copied(), (0..depth).map(|k| right.row(k)[j])))
                .collect();
            let places = (0..depth).flat_map(|k| (0..n).map(move |j| (k, j)));
            let want_transposed: Vec<f32> = places
                .map(|(k, j)| chain((0..m).map(|i| dense.row(i)[k]), (0..m).map(|i| other.row(i)[j])))
                .collect();
            for level in SimdLevel::available() {
                let mut out = vec![f32::NAN; want.len()];
                level.run(Product { left: &left, rows: range.clone(), right: &right, out: &mut out });
                assert_same_bits(&out, &want, &format!("{level}, {m}×{depth}×{n}"));
                let mut out = vec![f32::NAN; want_transposed.len()];
                level.run(Product {
                    left: &transposed,
                    rows: 0..depth,
                    right: &other,
                    out: &mut out,
                });
                assert_same_bits(&out, &want_transposed, &format!("{level}, transposed"));
            }
        }
    }
}
