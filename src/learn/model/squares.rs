//! The sum of the squares of a row. The sum is defined by 64 interleaved partial sums and a fixed
//! tree that adds them. Therefore, the result does not depend on the vector width.

use crate::model::lanes::Lanes;

/// Number of interleaved lanes in the definition of the sum. This number does not depend on the
/// vector width.
const N_LANES: usize = 64;

/// Returns Σ x² over a row.
///
/// The sum has 64 lanes. Lane l begins with +0 and adds the squares of the columns ≡ l (mod 64) by
/// fused multiply-adds, in ascending order. Then the upper half of the lanes is added to the lower
/// half, again and again, until one lane is left.
#[inline(always)]
pub(crate) fn sum_of_squares<L: Lanes>(lanes: L, row: &[f32]) -> f32 {
    match L::LANES {
        16 => sum_in_vectors::<L, 4>(lanes, row),
        8 => sum_in_vectors::<L, 8>(lanes, row),
        4 => sum_in_vectors::<L, 16>(lanes, row),
        n_lanes => unreachable!("vectors have 4, 8 or 16 lanes, not {n_lanes}"),
    }
}

/// Computes [`sum_of_squares`]. The 64 lanes are in `NV` vectors.
#[inline(always)]
fn sum_in_vectors<L: Lanes, const NV: usize>(lanes: L, row: &[f32]) -> f32 {
    assert_eq!(NV * L::LANES, N_LANES, "lanes of the definition");
    let mut sums = [lanes.splat(0.0); NV];
    let (row, rest) = L::split(row);
    let (chunks, last) = row.as_chunks::<NV>();
    for chunk in chunks {
        for v in 0..NV {
            sums[v] = lanes.mul_add(chunk[v], chunk[v], sums[v]);
        }
    }
    // The rest of the row is padded with zeros. Their squares change no sum.
    let mut padded = [lanes.splat(0.0); NV];
    padded[..last.len()].copy_from_slice(last);
    if !rest.is_empty() {
        L::floats_mut(&mut padded[last.len()..][..1])[..rest.len()].copy_from_slice(rest);
    }
    for v in 0..NV {
        sums[v] = lanes.mul_add(padded[v], padded[v], sums[v]);
    }
    // Each pass adds the upper half of the lanes to the lower half. When one vector is left, a
    // scalar tree continues.
    let mut half = NV / 2;
    while half > 0 {
        for v in 0..half {
            sums[v] = lanes.add(sums[v], sums[v + half]);
        }
        half /= 2;
    }
    let mut tree = [0.0; 16];
    tree[..L::LANES].copy_from_slice(L::floats(&sums[..1]));
    let mut half = L::LANES / 2;
    while half > 0 {
        for l in 0..half {
            tree[l] += tree[l + half];
        }
        half /= 2;
    }
    tree[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::lanes::Kernel;
    use crate::model::simd::SimdLevel;
    use crate::model::testing::{assert_same_bits, value};

    struct SumOfSquares<'a>(&'a [f32]);

    impl Kernel for SumOfSquares<'_> {
        type Output = f32;

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) -> f32 {
            sum_of_squares(lanes, self.0)
        }
    }

    /// Computes the sum by the definition.
    fn naive(row: &[f32]) -> f32 {
        let lane =
            |l: usize| row.iter().skip(l).step_by(64).fold(0.0f32, |sum, x| x.mul_add(*x, sum));
        let mut lanes: Vec<f32> = (0..64).map(lane).collect();
        while lanes.len() > 1 {
            let (low, high) = lanes.split_at(lanes.len() / 2);
            lanes = low.iter().zip(high).map(|(a, b)| a + b).collect();
        }
        lanes[0]
    }

    proptest! {
        #[test]
        fn sum_of_squares_equals_its_definition_at_every_level(
            row in prop::collection::vec(value(), 0..300)
        ) {
            for level in SimdLevel::available() {
                let got = level.run(SumOfSquares(&row));
                assert_same_bits(&[got], &[naive(&row)], &level.to_string());
            }
        }
    }
}
