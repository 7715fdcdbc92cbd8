//! The forward product and the weight gradient of the first layer. Both computations skip inputs
//! that are zero, or pairs of inputs that are both zero.
//!
//! Each result is computed strip by strip, so that the sums of a row within a strip of columns stay
//! in registers. The right operands are stored in the same strips, as [`Panels`].

use std::ops::Range;

use crate::model::elementwise::Activation;
use crate::model::inputs::{Entry, Inputs, Pair};
use crate::model::lanes::{Kernel, Lanes};
use crate::model::matrix::Matrix;
use crate::model::panels::{Panels, strip_width};
use crate::model::product::Out;

/// Number of vectors per strip of the forward product. The sums of a strip fit in registers
/// together with the operands.
pub(crate) const FORWARD_STRIP: usize = 8;

/// Number of pairs of gradient rows per block. All strips of a block are computed before the next
/// block begins. A strip may end within a cache line. Because a block has so few rows, that line
/// stays in the L2 cache until the next strip completes it.
const PAIRS_A_BLOCK: usize = 56;

/// Returns the number of vectors per strip of the gradient. With this number, the sums of two rows
/// of a strip fit in registers.
#[inline(always)]
pub(crate) const fn gradient_strip<L: Lanes>() -> usize {
    if L::REGISTERS >= 32 { WIDE } else { NARROW }
}

const WIDE: usize = 8;
const NARROW: usize = 6;

/// The forward product of the first layer, with bias and activation. The blocks of features are
/// processed one after the other.
#[derive(Debug)]
pub(crate) struct Forward<'a> {
    pub(crate) inputs: &'a Inputs,
    /// The sums over the blocks that were already added.
    pub(crate) sums: &'a mut Panels,
    /// The bias, followed by enough zeros to read whole vectors in the last strip.
    pub(crate) bias: &'a [f32],
    pub(crate) activation: Activation,
    pub(crate) outputs: &'a mut Matrix,
}

impl Forward<'_> {
    /// Adds the terms of one block of features to the sums of all examples. `weights` contains the
    /// rows of weights that belong to the block.
    ///
    /// The caller must pass the blocks in ascending order. The first block overwrites the sums, and
    /// the last block writes the outputs.
    #[inline(always)]
    pub(crate) fn add_products<L: Lanes>(&mut self, lanes: L, block: usize, weights: &Panels) {
        let n_vectors = weights.n_columns().div_ceil(L::LANES);
        let mut first = 0;
        while first < n_vectors {
            let width = strip_width(n_vectors - first, FORWARD_STRIP);
            match width {
                FORWARD_STRIP => self.strip::<L, FORWARD_STRIP>(lanes, block, weights, first),
                4 => self.strip::<L, 4>(lanes, block, weights, first),
                2 => self.strip::<L, 2>(lanes, block, weights, first),
                _ => self.strip::<L, 1>(lanes, block, weights, first),
            }
            first += width;
        }
    }

    #[inline(always)]
    fn strip<L: Lanes, const NV: usize>(
        &mut self,
        lanes: L,
        block: usize,
        weights: &Panels,
        first: usize,
    ) {
        lanes.call(ForwardStrip::<NV> { forward: self, block, weights, first });
    }

    /// Completes one row within the strip that begins at vector `first`. Adds the bias to the sums,
    /// applies the activation, and stores the outputs.
    #[inline(always)]
    fn finish<L: Lanes, const NV: usize>(
        &mut self,
        lanes: L,
        (row, first): (usize, usize),
        mut sums: [L::V; NV],
    ) {
        let bias = &L::split(self.bias).0[first..][..NV];
        for v in 0..NV {
            // Adding +0 turns -0 into +0, as in the dense product.
            let sum = lanes.add(lanes.add(sums[v], lanes.splat(0.0)), bias[v]);
            sums[v] = if self.activation == Activation::Relu { lanes.relu(sum) } else { sum };
        }
        let (stride, n_columns) = (self.outputs.stride(), self.outputs.n_columns());
        let mut out = Out { values: self.outputs.values_mut(), stride, n_columns, adds: false };
        out.store::<L, NV>(lanes, (row, first * L::LANES), &sums);
    }
}

/// A kernel that adds the terms of one block of features within one strip of columns. The strip
/// begins at vector `first` and is `NV` vectors wide.
struct ForwardStrip<'a, 'b, const NV: usize> {
    forward: &'a mut Forward<'b>,
    block: usize,
    weights: &'a Panels,
    first: usize,
}

impl<const NV: usize> Kernel for ForwardStrip<'_, '_, NV> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { forward, block, weights, first } = self;
        let weights = weights.strip::<L, NV>(first);
        let is_last = block + 1 == forward.inputs.n_blocks();
        for row in 0..forward.inputs.n_rows() {
            let mut sums = [lanes.splat(0.0); NV];
            if block > 0 {
                sums = forward.sums.strip::<L, NV>(first)[row];
            }
            let sums = chains(lanes, forward.inputs.entries(row, block), weights, sums);
            if is_last {
                forward.finish(lanes, (row, first), sums);
            } else {
                forward.sums.strip_mut::<L, NV>(first)[row] = sums;
            }
        }
    }
}

/// Adds the terms of `entries` to `sums` by fused multiply-adds, and returns the new sums. `sums`
/// are the sums of one row within one strip.
#[inline(always)]
fn chains<L: Lanes, const NV: usize>(
    lanes: L,
    entries: &[Entry],
    weights: &[[L::V; NV]],
    mut sums: [L::V; NV],
) -> [L::V; NV] {
    for entry in entries {
        let weights = &weights[entry.feature as usize];
        let factor = lanes.splat(entry.value);
        for v in 0..NV {
            sums[v] = lanes.mul_add(factor, weights[v], sums[v]);
        }
    }
    sums
}

/// The treatment of zero inputs in the gradient of the first layer. A pair of inputs is left out
/// only if both inputs are zero, so one input of a pair may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// Terms with a zero input are added, which is faster. These terms change no bit of a sum,
    /// because all deltas are finite.
    Added,
    /// Terms with a zero input are skipped, because 0 times an infinite or NaN delta would be NaN.
    LeftOut,
}

/// Computes the gradient of the first layer's weights: rows 2·p and 2·p + 1 of `inputsᵀ · deltas`
/// for each p in `pairs`. Row 2·`pairs.start` becomes the first row of `out`.
#[inline(always)]
pub(crate) fn pair_products<L: Lanes>(
    lanes: L,
    operands: &Operands<'_>,
    pairs: Range<usize>,
    out: &mut Out<'_>,
) {
    let n_vectors = out.n_columns.div_ceil(L::LANES);
    let mut start = pairs.start;
    while start < pairs.end {
        let block = start..pairs.end.min(start + PAIRS_A_BLOCK);
        let place = 2 * (start - pairs.start);
        let mut first = 0;
        while first < n_vectors {
            let width = strip_width(n_vectors - first, gradient_strip::<L>());
            let pairs = block.clone();
            match width {
                WIDE => lanes.call(PairStrip::<WIDE> { operands, pairs, first, out, place }),
                NARROW => lanes.call(PairStrip::<NARROW> { operands, pairs, first, out, place }),
                4 => lanes.call(PairStrip::<4> { operands, pairs, first, out, place }),
                2 => lanes.call(PairStrip::<2> { operands, pairs, first, out, place }),
                _ => lanes.call(PairStrip::<1> { operands, pairs, first, out, place }),
            }
            first += width;
        }
        start = block.end;
    }
}

/// The operands of the gradient of the first layer's weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) deltas: &'a Panels,
    pub(crate) zeros: Zeros,
}

/// A kernel that computes the gradient rows of `pairs` within the strip that begins at vector
/// `first`. The first computed row is stored as row `place` of `out`.
struct PairStrip<'a, 'b, const NV: usize> {
    operands: &'a Operands<'a>,
    pairs: Range<usize>,
    first: usize,
    out: &'a mut Out<'b>,
    place: usize,
}

impl<const NV: usize> Kernel for PairStrip<'_, '_, NV> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { operands, pairs, first, out, place } = self;
        let deltas = operands.deltas.strip::<L, NV>(first);
        let zero = lanes.splat(0.0);
        for (i, pair) in pairs.enumerate() {
            let pairs = operands.inputs.pairs(pair);
            let (mut even, mut odd) = match operands.zeros {
                Zeros::Added => pair_chains(lanes, pairs, deltas),
                Zeros::LeftOut => pair_chains_without_zeros(lanes, pairs, deltas),
            };
            // Adding +0 turns -0 into +0, so that zero terms cannot affect the sign of a zero.
            for v in 0..NV {
                (even[v], odd[v]) = (lanes.add(even[v], zero), lanes.add(odd[v], zero));
            }
            let (row, column) = (place + 2 * i, first * L::LANES);
            out.store::<L, NV>(lanes, (row, column), &even);
            out.store::<L, NV>(lanes, (row + 1, column), &odd);
        }
    }
}

/// Computes the sums of two gradient rows within one strip, including the terms whose input is
/// zero. The deltas are loaded once for both rows.
#[inline(always)]
fn pair_chains<L: Lanes, const NV: usize>(
    lanes: L,
    pairs: &[Pair],
    deltas: &[[L::V; NV]],
) -> ([L::V; NV], [L::V; NV]) {
    // Two arrays are used, because the compiler would keep a part of an array of arrays in memory.
    let (mut even, mut odd) = ([lanes.splat(0.0); NV], [lanes.splat(0.0); NV]);
    for pair in pairs {
        let deltas = &deltas[pair.row as usize];
        let [even_factor, odd_factor] = pair.values;
        let (even_factor, odd_factor) = (lanes.splat(even_factor), lanes.splat(odd_factor));
        for v in 0..NV {
            even[v] = lanes.mul_add(even_factor, deltas[v], even[v]);
            odd[v] = lanes.mul_add(odd_factor, deltas[v], odd[v]);
        }
    }
    (even, odd)
}

/// Computes the sums of two gradient rows within one strip, without the terms whose input is zero.
#[inline(always)]
fn pair_chains_without_zeros<L: Lanes, const NV: usize>(
    lanes: L,
    pairs: &[Pair],
    deltas: &[[L::V; NV]],
) -> ([L::V; NV], [L::V; NV]) {
    let one = |which: usize| {
        let mut sums = [lanes.splat(0.0); NV];
        for pair in pairs.iter().filter(|pair| pair.values[which] != 0.0) {
            let (factor, deltas) = (lanes.splat(pair.values[which]), &deltas[pair.row as usize]);
            for v in 0..NV {
                sums[v] = lanes.mul_add(factor, deltas[v], sums[v]);
            }
        }
        sums
    };
    (one(0), one(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::Examples;
    use crate::model::inputs::FEATURES_A_BLOCK;
    use crate::model::simd::SimdLevel;
    use crate::model::testing::{assert_same_bits, matrix, value};

    struct WholeForward<'a> {
        inputs: &'a Inputs,
        weights: &'a Matrix,
        out: &'a mut Matrix,
    }

    impl Kernel for WholeForward<'_> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            let n_columns = self.weights.n_columns();
            let (mut some, mut sums) = (Panels::default(), Panels::default());
            some.reshape(lanes, (FEATURES_A_BLOCK, n_columns), FORWARD_STRIP);
            sums.reshape(lanes, (self.inputs.n_rows(), n_columns), FORWARD_STRIP);
            let mut forward = Forward {
                inputs: self.inputs,
                sums: &mut sums,
                bias: &[0.0; 500],
                activation: Activation::None,
                outputs: self.out,
            };
            for block in 0..self.inputs.n_blocks() {
                for (place, row) in self.inputs.features(block).enumerate() {
                    some.set_row::<L, FORWARD_STRIP>(lanes, place, self.weights.row(row));
                }
                forward.add_products(lanes, block, &some);
            }
        }
    }

    struct WholeGradient<'a> {
        inputs: &'a Inputs,
        pairs: Range<usize>,
        deltas: &'a Matrix,
        zeros: Zeros,
        out: &'a mut [f32],
    }

    impl Kernel for WholeGradient<'_> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            let Self { inputs, pairs, deltas, zeros, out } = self;
            let n_columns = deltas.n_columns();
            let mut panels = Panels::default();
            panels.reshape(lanes, (inputs.n_rows(), n_columns), gradient_strip::<L>());
            for row in 0..inputs.n_rows() {
                match gradient_strip::<L>() {
                    WIDE => panels.set_row::<L, WIDE>(lanes, row, deltas.row(row)),
                    _ => panels.set_row::<L, NARROW>(lanes, row, deltas.row(row)),
                }
            }
            let mut out = Out { values: out, stride: n_columns, n_columns, adds: false };
            let operands = Operands { inputs, deltas: &panels, zeros };
            pair_products(lanes, &operands, pairs, &mut out);
        }
    }

    fn inputs(dense: &Matrix, n_rows: usize) -> Inputs {
        let mut examples = Examples::new(dense.n_columns(), 1);
        (0..n_rows).for_each(|row| examples.push(dense.row(row).iter().copied(), 0));
        let mut inputs = Inputs::default();
        inputs.load(&examples, &(0..n_rows).collect::<Vec<_>>());
        inputs
    }

    /// Computes one element by the definition: a chain of fused multiply-adds over non-zero inputs.
    fn chain(terms: impl Iterator<Item = (f32, f32)>) -> f32 {
        let terms = terms.filter(|(x, _)| *x != 0.0);
        terms.fold(0.0f32, |sum, (x, w)| x.mul_add(w, sum)) + 0.0
    }

    /// Generates values. One in 31 values is infinite or NaN.
    fn any_value() -> impl Strategy<Value = f32> {
        prop_oneof![
            30 => value(),
            1 => prop::sample::select(vec![f32::INFINITY, f32::NEG_INFINITY, f32::NAN]),
        ]
    }

    /// Asserts that `got` and `want` have the same bits, except that all NaNs count as equal.
    fn assert_same(got: &[f32], want: &[f32], what: &str) {
        let plain = |values: &[f32]| -> Vec<f32> {
            values.iter().map(|x| if x.is_nan() { f32::NAN } else { *x }).collect()
        };
        assert_same_bits(&plain(got), &plain(want), what);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn forward_product_equals_its_definition_at_every_level(
            (m, n) in (0usize..6, 1usize..150),
            depth in prop_oneof![1usize..20, 220usize..230],
            values in prop::collection::vec(value(), 1..300),
            weights in prop::collection::vec(any_value(), 1..300),
        ) {
            let (dense, weights) = (matrix(m, depth, &values, 0), matrix(depth, n, &weights, 1));
            let inputs = inputs(&dense, m);
            for level in SimdLevel::available() {
                let mut out = matrix(m, n, &[f32::NAN], 0);
                level.run(WholeForward { inputs: &inputs, weights: &weights, out: &mut out });
                for i in 0..m {
                    let term = |k: usize, j: usize| (dense.row(i)[k], weights.row(k)[j]);
                    let want: Vec<_> =
                        (0..n).map(|j| chain((0..depth).map(|k| term(k, j)))).collect();
                    assert_same(out.row(i), &want, &format!("{level}, row {i} of {m}×{depth}×{n}"));
                }
            }
        }

        #[test]
        fn gradient_equals_its_definition_at_every_level(
            (m, depth, n) in (0usize..6, 1usize..20, 1usize..150),
            from in 0usize..10,
            values in prop::collection::vec(value(), 1..300),
            finite in prop::collection::vec(value(), 1..300),
            any in prop::collection::vec(any_value(), 1..300),
        ) {
            let dense = matrix(m, depth, &values, 0);
            let inputs = inputs(&dense, m);
            let pairs = from.min(inputs.n_pairs())..inputs.n_pairs();
            for (deltas, zeros) in [(finite, Zeros::Added), (any, Zeros::LeftOut)] {
                let deltas = matrix(m, n, &deltas, 2);
                // If the number of features is odd, the second row of the last pair is zero.
                let input = |i: usize, k: usize| dense.row(i).get(k).copied().unwrap_or(0.0);
                let term = |i: usize, k: usize, j: usize| (input(i, k), deltas.row(i)[j]);
                let rows = 2 * pairs.start..2 * pairs.end;
                let want: Vec<_> = rows
                    .flat_map(|k| (0..n).map(move |j| (k, j)))
                    .map(|(k, j)| chain((0..m).map(|i| term(i, k, j))))
                    .collect();
                for level in SimdLevel::available() {
                    let mut out = vec![f32::NAN; want.len()];
                    let (inputs, deltas, pairs) = (&inputs, &deltas, pairs.clone());
                    level.run(WholeGradient { inputs, pairs, deltas, zeros, out: &mut out });
                    assert_same(&out, &want, &format!("{level}, {m}×{depth}×{n}, {zeros:?}"));
                }
            }
        }
    }
}
