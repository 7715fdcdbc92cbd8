//! The dense matrix product. Each element is one chain of fused multiply-adds.
//!
//! The kernel computes one block of elements at a time, and keeps their sums in registers. The size
//! of the block affects no bit of the result. The sum over the inner dimension is never split,
//! because a split would change the bits.

use std::ops::Range;

use crate::model::lanes::{Kernel, Lanes};
use crate::model::matrix::Matrix;

/// The left operand of a product. Each element is loaded separately and copied to all lanes of a
/// vector, so a transposed operand costs no additional time.
pub(crate) trait Left: Copy {
    /// `MR` consecutive rows, in the form that the kernel reads.
    type Block<const MR: usize>: Copy;

    /// Returns the number of columns, which is the number of terms of each sum.
    fn depth(self) -> usize;
    /// Returns the block of `MR` rows that begins with row `row`.
    fn block<const MR: usize>(self, row: usize) -> Self::Block<MR>;
    /// Returns the place of column `k`, for [`Self::element`]; `None` if the block has no such column.
    fn place<const MR: usize>(block: &Self::Block<MR>, k: usize) -> Option<usize>;
    /// Returns the element of row `i` in the column at `place`.
    fn element<const MR: usize>(block: &Self::Block<MR>, place: usize, i: usize) -> f32;
}

/// A matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain<'a>(pub(crate) &'a Matrix);

impl<'a> Left for Plain<'a> {
    type Block<const MR: usize> = [&'a [f32]; MR];

    #[inline(always)]
    fn depth(self) -> usize {
        self.0.n_columns()
    }

    #[inline(always)]
    fn block<const MR: usize>(self, row: usize) -> [&'a [f32]; MR] {
        // A loop is used, because the closures of `from_fn` and `map` are not always inlined.
        let mut rows: [&[f32]; MR] = [&[]; MR];
        for (i, place) in rows.iter_mut().enumerate() {
            *place = &self.0.row(row + i)[..self.0.n_columns()];
        }
        rows
    }

    #[inline(always)]
    fn place<const MR: usize>(rows: &[&'a [f32]; MR], k: usize) -> Option<usize> {
        // All rows have the same length.
        (k < rows[0].len()).then_some(k)
    }

    #[inline(always)]
    fn element<const MR: usize>(rows: &[&'a [f32]; MR], k: usize, i: usize) -> f32 {
        rows[i][k]
    }
}

/// The transpose of the first rows of a matrix. The second field is the number of these rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transposed<'a>(pub(crate) &'a Matrix, pub(crate) usize);

impl<'a> Left for Transposed<'a> {
    type Block<const MR: usize> = (&'a [f32], usize);

    #[inline(always)]
    fn depth(self) -> usize {
        self.1
    }

    #[inline(always)]
    fn block<const MR: usize>(self, row: usize) -> (&'a [f32], usize) {
        // Without rows, there are no values.
        (self.0.values().get(row..).unwrap_or_default(), self.0.stride())
    }

    #[inline(always)]
    fn place<const MR: usize>((values, stride): &(&'a [f32], usize), k: usize) -> Option<usize> {
        let place = k * stride;
        (place < values.len() && values.len() - place >= MR).then_some(place)
    }

    #[inline(always)]
    fn element<const MR: usize>((values, _): &(&'a [f32], usize), place: usize, i: usize) -> f32 {
        values[place + i]
    }
}

/// A regular selection of values, such as the patches of an image: element (i, k) is
/// `values[rows[i] + terms[k]]`. There are as many columns as `terms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Indexed<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: &'a [u32],
    pub(crate) terms: &'a [u32],
    /// An exclusive upper bound of `terms`.
    pub(crate) span: usize,
}

impl<'a> Left for Indexed<'a> {
    type Block<const MR: usize> = ([&'a [f32]; MR], &'a [u32]);

    #[inline(always)]
    fn depth(self) -> usize {
        self.terms.len()
    }

    #[inline(always)]
    fn block<const MR: usize>(self, row: usize) -> ([&'a [f32]; MR], &'a [u32]) {
        let mut rows: [&[f32]; MR] = [&[]; MR];
        for (i, place) in rows.iter_mut().enumerate() {
            // All slices have the same length, so one comparison checks the place of an element in
            // all of them.
            *place = &self.values[self.rows[row + i] as usize..][..self.span];
        }
        (rows, self.terms)
    }

    #[inline(always)]
    fn place<const MR: usize>(
        (rows, terms): &([&'a [f32]; MR], &'a [u32]),
        k: usize,
    ) -> Option<usize> {
        let place = *terms.get(k)? as usize;
        (place < rows[0].len()).then_some(place)
    }

    #[inline(always)]
    fn element<const MR: usize>(
        (rows, _): &([&'a [f32]; MR], &'a [u32]),
        place: usize,
        i: usize,
    ) -> f32 {
        rows[i][place]
    }
}

/// The destination of a product: rows of `n_columns` values. The starts of consecutive rows are
/// `stride` values apart.
#[derive(Debug)]
pub(crate) struct Out<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) stride: usize,
    pub(crate) n_columns: usize,
    /// Whether the product is added to the values. Otherwise it replaces them.
    pub(crate) adds: bool,
}

/// A function that is applied to each element of a product before the element is stored.
pub(crate) trait Last: Copy {
    /// Applies the function to `NV` vectors of row `at.0`, beginning with vector `at.1` of the row.
    /// Returns the results.
    fn apply<L: Lanes, const NV: usize>(
        self,
        lanes: L,
        at: (usize, usize),
        elements: [L::V; NV],
    ) -> [L::V; NV];
}

/// The identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity;

impl Last for Identity {
    #[inline(always)]
    fn apply<L: Lanes, const NV: usize>(
        self,
        _: L,
        _: (usize, usize),
        elements: [L::V; NV],
    ) -> [L::V; NV] {
        elements
    }
}

/// The multiplication of each element by the derivative of ReLU. An element is kept if the
/// contained matrix is above zero at the element's position, and replaced with +0 otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WhereAboveZero<'a>(pub(crate) &'a Matrix);

impl Last for WhereAboveZero<'_> {
    #[inline(always)]
    fn apply<L: Lanes, const NV: usize>(
        self,
        lanes: L,
        (row, first): (usize, usize),
        mut elements: [L::V; NV],
    ) -> [L::V; NV] {
        let gate = &L::split(self.0.padded_row(row)).0[first..][..NV];
        for v in 0..NV {
            elements[v] = lanes.pass(gate[v], elements[v]);
        }
        elements
    }
}

impl Out<'_> {
    #[inline(always)]
    fn rest_of_row(&mut self, row: usize, column: usize) -> &mut [f32] {
        &mut self.values[row * self.stride + column..][..self.n_columns - column]
    }

    /// Stores vectors in one row, beginning at the given row and column. Drops the values beyond
    /// the last column.
    #[inline(always)]
    pub(crate) fn store<L: Lanes, const NV: usize>(
        &mut self,
        lanes: L,
        (row, column): (usize, usize),
        vectors: &[L::V; NV],
    ) {
        let adds = self.adds;
        let place = self.rest_of_row(row, column);
        if place.len() >= NV * L::LANES {
            let (place, _) = L::split_mut(place);
            for v in 0..NV {
                place[v] = if adds { lanes.add(place[v], vectors[v]) } else { vectors[v] };
            }
        } else {
            let (place, rest) = L::split_mut(place);
            for v in 0..NV {
                if v < place.len() {
                    place[v] = if adds { lanes.add(place[v], vectors[v]) } else { vectors[v] };
                } else if v == place.len() {
                    // A local copy is needed, because taking the address of `vectors` would move
                    // all vectors from registers to memory.
                    let copy = [vectors[v]];
                    for (place, value) in rest.iter_mut().zip(L::floats(&copy)) {
                        *place = if adds { *place + *value } else { *value };
                    }
                }
            }
        }
    }
}

/// Maximum number of columns that a kernel processes as one strip. A bias is followed by as many
/// zeros, so that a kernel can read whole vectors in the last strip.
pub(crate) const MAX_STRIP: usize = 256;

/// Computes the rows `rows` of `left · right`, applies `last` to each element, and writes the rows
/// into `out`. Row `rows.start` of the product becomes the first row of `out`.
#[inline(always)]
pub(crate) fn product<L: Lanes>(
    lanes: L,
    left: impl Left,
    rows: Range<usize>,
    right: &Matrix,
    last: impl Last,
    out: &mut Out<'_>,
) {
    let n_vectors = out.n_columns.div_ceil(L::LANES);
    let mut first = 0;
    while first < n_vectors {
        // AVX-512 and NEON have 32 registers, and 24 of them contain sums. AVX2 has 16 registers,
        // and 10 of them contain sums; with 12, the compiler keeps some of them in memory.
        let of = Operands { left, right, rows: rows.clone() };
        first += match (L::REGISTERS >= 32, n_vectors - first) {
            // Two strips of two are faster than one of three and one of one.
            (true, 4 | 2) => lanes.call(Strip::<_, _, 8, 2> { of, last, first, out }),
            (true, 3..) => lanes.call(Strip::<_, _, 8, 3> { of, last, first, out }),
            (true, _) => lanes.call(Strip::<_, _, 8, 1> { of, last, first, out }),
            (false, 2..) => lanes.call(Strip::<_, _, 5, 2> { of, last, first, out }),
            (false, _) => lanes.call(Strip::<_, _, 8, 1> { of, last, first, out }),
        };
    }
}

/// The operands of a product, and the rows to compute.
struct Operands<'a, F> {
    left: F,
    right: &'a Matrix,
    rows: Range<usize>,
}

/// A kernel that computes the requested rows of a product in one strip of columns. The strip begins
/// at vector `first` and is `NV` vectors wide.
struct Strip<'a, 'b, F, T, const MR: usize, const NV: usize> {
    of: Operands<'a, F>,
    last: T,
    first: usize,
    out: &'a mut Out<'b>,
}

impl<F: Left, T: Last, const MR: usize, const NV: usize> Kernel for Strip<'_, '_, F, T, MR, NV> {
    type Output = usize;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> usize {
        let Self { of, last, first, out } = self;
        let mut row = of.rows.start;
        while row < of.rows.end {
            let (at, out) = ((row, first), &mut *out);
            row += match of.rows.end - row {
                n if n >= MR => lanes.call(Tile::<_, _, MR, NV> { of: &of, last, at, out }),
                4.. => lanes.call(Tile::<_, _, 4, NV> { of: &of, last, at, out }),
                2.. => lanes.call(Tile::<_, _, 2, NV> { of: &of, last, at, out }),
                _ => lanes.call(Tile::<_, _, 1, NV> { of: &of, last, at, out }),
            };
        }
        NV
    }
}

/// A kernel that computes a block of `MR` rows and `NV` vectors, and returns `MR`. The sums of the
/// block stay in registers. Each block is a separate function. If several were inlined into one, the
/// compiler would keep some sums in memory.
struct Tile<'a, 'b, 'c, F, T, const MR: usize, const NV: usize> {
    of: &'a Operands<'c, F>,
    last: T,
    /// The first row of the product, and the first vector.
    at: (usize, usize),
    out: &'a mut Out<'b>,
}

impl<F: Left, T: Last, const MR: usize, const NV: usize> Kernel for Tile<'_, '_, '_, F, T, MR, NV> {
    type Output = usize;

    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "rows and columns are counted")]
    fn run<L: Lanes>(self, lanes: L) -> usize {
        let Self { of, last, at: (row, first), out } = self;
        let zero = lanes.splat(0.0);
        let mut sums = [[zero; NV]; MR];
        let (right, stride) = (L::split(of.right.values()).0, of.right.stride() / L::LANES);
        // A product without terms has no right operand.
        let right = right.get(first..).unwrap_or_default();
        let block = of.left.block::<MR>(row);
        let mut n_terms = 0;
        // The loop must not contain a check that panics: the compiler would then copy all sums to
        // memory in each round.
        for (k, right) in (0..of.left.depth()).zip(right.chunks(stride)) {
            let Some(place) = F::place::<MR>(&block, k) else { break };
            let Some(right) = right.first_chunk::<NV>() else { break };
            for i in 0..MR {
                let factor = lanes.splat(F::element::<MR>(&block, place, i));
                for v in 0..NV {
                    sums[i][v] = lanes.mul_add(factor, right[v], sums[i][v]);
                }
            }
            n_terms += 1;
        }
        assert_eq!(n_terms, of.left.depth(), "terms of a product");
        for i in 0..MR {
            // Adding +0 turns -0 into +0. The result then equals a sum without the terms whose left
            // factor is zero. The sparse product computes such sums.
            let mut done = [zero; NV];
            for v in 0..NV {
                done[v] = lanes.add(sums[i][v], zero);
            }
            let done = last.apply(lanes, (row + i, first), done);
            out.store::<L, NV>(lanes, (row - of.rows.start + i, first * L::LANES), &done);
        }
        MR
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::simd::SimdLevel;
    use crate::model::testing::{assert_same_bits, matrix, value};

    struct Product<'a, F, T> {
        left: F,
        rows: Range<usize>,
        right: &'a Matrix,
        last: T,
        out: &'a mut [f32],
    }

    impl<F: Left, T: Last> Kernel for Product<'_, F, T> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            let n_columns = self.right.n_columns();
            let mut out = Out { values: self.out, stride: n_columns, n_columns, adds: false };
            product(lanes, self.left, self.rows, self.right, self.last, &mut out);
        }
    }

    /// Computes one element by the definition. If `skip` is set, leaves out the terms whose left
    /// factor is zero.
    fn chain(left: &[f32], right: impl Iterator<Item = f32>, skip: bool) -> f32 {
        let terms = left.iter().zip(right).filter(|(x, _)| !skip || **x != 0.0);
        terms.fold(0.0f32, |sum, (x, w)| x.mul_add(w, sum)) + 0.0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn product_equals_its_definition_at_every_level_with_or_without_zero_terms(
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
                let what = format!("{level}, {m}×{depth}×{n}");
                let mut out = vec![f32::NAN; want.len()];
                let places = |n: usize, stride: usize| -> Vec<_> {
                    (0..n).map(|i| (i * stride) as u32).collect()
                };
                let (row_places, terms) = (places(m, left.stride()), places(depth, 1));
                let indexed = Indexed {
                    values: left.values(),
                    rows: &row_places,
                    terms: &terms,
                    span: depth,
                };
                let mut check = |product: &dyn Fn(&mut [f32])| {
                    out.fill(f32::NAN);
                    product(&mut out);
                    assert_same_bits(&out, &want, &what);
                };
                let (right, last) = (&right, Identity);
                check(&|out| {
                    level.run(Product { left: Plain(&left), rows: rows.clone(), right, last, out });
                });
                check(&|out| {
                    let left = Transposed(&left_transposed, depth);
                    level.run(Product { left, rows: rows.clone(), right, last, out });
                });
                check(&|out| {
                    level.run(Product { left: indexed, rows: rows.clone(), right, last, out });
                });
            }
            let gate = matrix(m, n, &values, 2);
            let passed = |i: usize, j: usize, x: f32| if gate.row(i)[j] > 0.0 { x } else { 0.0 };
            let places = rows.clone().flat_map(|i| (0..n).map(move |j| (i, j)));
            let gated: Vec<_> =
                places.zip(&want).map(|((i, j), &x)| passed(i, j, x)).collect();
            for level in SimdLevel::available() {
                let mut out = vec![f32::NAN; want.len()];
                let (left, rows, last) = (Plain(&left), rows.clone(), WhereAboveZero(&gate));
                level.run(Product { left, rows, right: &right, last, out: &mut out });
                assert_same_bits(&out, &gated, &format!("{level}, {m}×{depth}×{n}, gated"));
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
