//! A sparse left operand, and its product with a dense one: the same chains, zeros left out.
//!
//! The columns of the result go through the registers strip by strip. The terms of a long sum go
//! block by block, so that the rows of the right operand that a block needs stay in the caches.

use std::ops::Range;

use crate::model::lanes::Lanes;
use crate::model::panels::{Panels, strip_width};
use crate::model::product::{MAX_STRIP, Out};

/// Rows of a product that are done strip by strip before the next ones: of so many, what is written
/// stays in the L2 cache until its lines are whole.
const ROWS_A_BLOCK: usize = 112;

/// One non-zero element of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Entry {
    /// Counted in its block.
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
                let first = (i * block) as u32;
                for (entry, (&column, &value)) in entries.iter_mut().zip(pairs) {
                    *entry = Entry { column: column - first, value };
                }
            }
        }
    }

    /// Fills it with the transpose of another one, in one block.
    pub(crate) fn fill_transposed(&mut self, other: &Self) {
        self.reset(other.n_columns, other.n_rows, other.n_rows.max(1));
        for block in 0..other.n_blocks() {
            let range =
                other.starts[block * other.n_rows]..other.starts[(block + 1) * other.n_rows];
            let starts = &mut self.starts[block * other.block + 1..];
            for entry in &other.entries[range] {
                starts[entry.column as usize] += 1;
            }
        }
        self.accumulate_starts();
        for block in 0..other.n_blocks() {
            let starts = &mut self.starts[block * other.block..];
            for row in 0..other.n_rows {
                for entry in other.entries(block, row) {
                    let next = &mut starts[entry.column as usize];
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

    pub(crate) const fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Columns a block; the last block may have fewer.
    pub(crate) const fn block(&self) -> usize {
        self.block
    }

    /// Whether a row of the only block is all zeros.
    #[inline(always)]
    pub(crate) fn is_empty_row(&self, row: usize) -> bool {
        self.entries(0, row).is_empty()
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

/// Rows `rows` of `left · right` into `out`, whose first row is the first of them; `left` has one
/// block.
#[inline(always)]
pub(crate) fn sparse_product<L: Lanes>(
    lanes: L,
    left: &SparseMatrix,
    rows: Range<usize>,
    right: &Panels,
    out: &mut Out<'_>,
) {
    let n_vectors = out.n_columns.div_ceil(L::LANES);
    let mut start = rows.start;
    while start < rows.end {
        let block = start..rows.end.min(start + ROWS_A_BLOCK);
        let place = start - rows.start;
        let mut first = 0;
        while first < n_vectors {
            match strip_width(n_vectors - first) {
                8 => product_strip::<L, 8>(lanes, left, block.clone(), right, (place, first), out),
                4 => product_strip::<L, 4>(lanes, left, block.clone(), right, (place, first), out),
                2 => product_strip::<L, 2>(lanes, left, block.clone(), right, (place, first), out),
                _ => product_strip::<L, 1>(lanes, left, block.clone(), right, (place, first), out),
            }
            first += strip_width(n_vectors - first);
        }
        start = block.end;
    }
}

/// Some rows of the strip that begins at vector `first`, to be stored from row `place` on.
#[inline(always)]
fn product_strip<L: Lanes, const NV: usize>(
    lanes: L,
    left: &SparseMatrix,
    rows: Range<usize>,
    right: &Panels,
    (place, first): (usize, usize),
    out: &mut Out<'_>,
) {
    const { assert!(NV * L::LANES <= MAX_STRIP) };
    let right = right.strip::<L, NV>(first);
    let zero = lanes.splat(0.0);
    for (i, row) in rows.enumerate() {
        let mut sums = chains(lanes, left.entries(0, row), right, [zero; NV]);
        for sum in &mut sums {
            *sum = lanes.add(*sum, zero);
        }
        out.store::<L, NV>((place + i, first * L::LANES), &sums);
    }
}

/// Adds the terms of one block of `left`'s columns to all sums; `right` has the block's rows.
///
/// After the last block the sums still want +0 added: [`finish_row`].
#[inline(always)]
pub(crate) fn add_products<L: Lanes>(
    lanes: L,
    left: &SparseMatrix,
    block: usize,
    right: &Panels,
    sums: &mut Panels,
) {
    let n_vectors = right.n_columns().div_ceil(L::LANES);
    let mut first = 0;
    while first < n_vectors {
        match strip_width(n_vectors - first) {
            8 => add_strip::<L, 8>(lanes, left, block, right, first, sums),
            4 => add_strip::<L, 4>(lanes, left, block, right, first, sums),
            2 => add_strip::<L, 2>(lanes, left, block, right, first, sums),
            _ => add_strip::<L, 1>(lanes, left, block, right, first, sums),
        }
        first += strip_width(n_vectors - first);
    }
}

#[inline(always)]
fn add_strip<L: Lanes, const NV: usize>(
    lanes: L,
    left: &SparseMatrix,
    block: usize,
    right: &Panels,
    first: usize,
    sums: &mut Panels,
) {
    let (right, sums) = (right.strip::<L, NV>(first), sums.strip_mut::<L, NV>(first));
    for (row, sums) in sums.iter_mut().enumerate() {
        *sums = chains(lanes, left.entries(block, row), right, *sums);
    }
}

/// Goes on with the chains of one row in one strip.
#[inline(always)]
fn chains<L: Lanes, const NV: usize>(
    lanes: L,
    entries: &[Entry],
    right: &[[L::V; NV]],
    mut sums: [L::V; NV],
) -> [L::V; NV] {
    for entry in entries {
        let right = &right[entry.column as usize];
        let factor = lanes.splat(entry.value);
        for v in 0..NV {
            sums[v] = lanes.mul_add(factor, right[v], sums[v]);
        }
    }
    sums
}

/// What [`add_products`] leaves to be done, of one row: the last addition.
#[inline(always)]
pub(crate) fn finish_row(row: &mut [f32]) {
    row.iter_mut().for_each(|sum| *sum += 0.0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::lanes::Kernel;
    use crate::model::matrix::Matrix;
    use crate::model::simd::SimdLevel;
    use crate::model::testing::{assert_same_bits, matrix, value};

    /// Rows of the product by a matrix whose left operand has one block.
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
            let mut right = Panels::default();
            right.reshape(lanes, self.left.n_columns, n_columns);
            for row in 0..self.left.n_columns {
                right.set_row(lanes, row, self.right.row(row));
            }
            let mut out = Out { values: self.out, stride: n_columns, n_columns };
            sparse_product(lanes, self.left, self.rows, &right, &mut out);
        }
    }

    /// The whole product, block by block.
    struct Blocks<'a> {
        left: &'a SparseMatrix,
        right: &'a Matrix,
        out: &'a mut [f32],
    }

    impl Kernel for Blocks<'_> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            let Self { left, right, out } = self;
            let n_columns = right.n_columns();
            let (mut block, mut sums) = (Panels::default(), Panels::default());
            block.reshape(lanes, left.block, n_columns);
            sums.reshape(lanes, left.n_rows, n_columns);
            sums.clear();
            for (i, rows) in (0..left.n_columns).collect::<Vec<_>>().chunks(left.block).enumerate()
            {
                for (place, &row) in rows.iter().enumerate() {
                    block.set_row(lanes, place, right.row(row));
                }
                add_products(lanes, left, i, &block, &mut sums);
            }
            for (row, out) in out.chunks_mut(n_columns).enumerate() {
                sums.row_into(lanes, row, out);
                finish_row(out);
            }
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
            from in 0usize..20,
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

            let places = (0..m).flat_map(|i| (0..n).map(move |j| (i, j)));
            let want: Vec<f32> = places
                .map(|(i, j)| chain(dense.row(i).iter().copied(), (0..depth).map(|k| right.row(k)[j])))
                .collect();
            let range = from.min(depth)..depth;
            let places = range.clone().flat_map(|k| (0..n).map(move |j| (k, j)));
            let want_transposed: Vec<f32> = places
                .map(|(k, j)| chain((0..m).map(|i| dense.row(i)[k]), (0..m).map(|i| other.row(i)[j])))
                .collect();
            for level in SimdLevel::available() {
                let mut out = vec![f32::NAN; want.len()];
                level.run(Blocks { left: &left, right: &right, out: &mut out });
                assert_same_bits(&out, &want, &format!("{level}, {m}×{depth}×{n}"));
                let mut out = vec![f32::NAN; want_transposed.len()];
                level.run(Product {
                    left: &transposed,
                    rows: range.clone(),
                    right: &other,
                    out: &mut out,
                });
                assert_same_bits(&out, &want_transposed, &format!("{level}, transposed"));
            }
        }
    }
}
