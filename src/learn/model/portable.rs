//! Vectors for CPUs without a fused multiply-add instruction: plain arrays, and a fused
//! multiply-add in software.

use crate::model::lanes::{Kernel, Lanes};

/// Vectors whose operations need only IEEE 754 arithmetic in f32 and f64.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 8;

impl Lanes for Portable {
    type V = [f32; LANES];
    const LANES: usize = LANES;
    const REGISTERS: usize = 16;

    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn split(values: &[f32]) -> (&[Self::V], &[f32]) {
        values.as_chunks()
    }

    #[inline(always)]
    fn split_mut(values: &mut [f32]) -> (&mut [Self::V], &mut [f32]) {
        values.as_chunks_mut()
    }

    #[inline(always)]
    fn floats(vectors: &[Self::V]) -> &[f32] {
        vectors.as_flattened()
    }

    #[inline(always)]
    fn floats_mut(vectors: &mut [Self::V]) -> &mut [f32] {
        vectors.as_flattened_mut()
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; LANES]
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|lane| mul_add(a[lane], b[lane], c[lane]))
    }

    #[inline(always)]
    fn relu(self, values: Self::V) -> Self::V {
        values.map(|value| if value < 0.0 { 0.0 } else { value })
    }

    #[inline(always)]
    fn pass(self, gate: Self::V, values: Self::V) -> Self::V {
        std::array::from_fn(|lane| if gate[lane] > 0.0 { values[lane] } else { 0.0 })
    }
}

/// Returns `a · b + c`, rounded once, without a fused multiply-add instruction.
///
/// The product of two f32 values is exact in f64. The sum of the product and `c` is rounded to odd
/// in f64. A second rounding, to f32, then gives the correctly rounded result, because f64 has 53
/// significant bits and 2·24 + 2 bits suffice (Boldo and Melquiond, "Emulation of a FMA and
/// correctly rounded sums: proved algorithms using rounding to odd", 2008).
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let addend = f64::from(c);
    let sum = product + addend;
    // Knuth's TwoSum computes the rounding error of `sum`.
    let rest = sum - product;
    let error = (product - (sum - rest)) + (addend - rest);
    // Rounding to odd: if the sum is inexact and its last bit is even, the sum is replaced by its
    // odd neighbour towards the exact sum. An infinite or NaN sum is kept. Integer operations
    // without a branch let the loop vectorise.
    let (bits, error) = (sum.to_bits(), error.to_bits());
    let magnitude = error << 1;
    let inexact = (magnitude | magnitude.wrapping_neg()) >> 63;
    let finite = ((((bits << 1) >> 53) + 1) >> 11) ^ 1;
    let even = !bits & 1;
    let towards_zero = (error ^ bits) >> 63;
    let step = 1u64.wrapping_sub(towards_zero << 1);
    let mask = (inexact & finite & even).wrapping_neg();
    f64::from_bits(bits.wrapping_add(step & mask)) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_fused(a: f32, b: f32, c: f32) {
        let (got, want) = (mul_add(a, b, c), a.mul_add(b, c));
        assert!(
            got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
            "{a:e} · {b:e} + {c:e}: {got:e} ({:08x}), want {want:e} ({:08x})",
            got.to_bits(),
            want.to_bits(),
        );
    }

    /// Returns edge cases of both signs: zero, subnormals, values around 1, ties, the largest
    /// value, infinity and NaN.
    fn edges() -> Vec<f32> {
        let positive = [
            0.0,
            f32::from_bits(1),
            f32::from_bits(2),
            f32::from_bits(0x007f_ffff),
            f32::MIN_POSITIVE,
            f32::from_bits(0x0080_0001),
            1.0 - f32::EPSILON / 2.0,
            1.0,
            1.0 + f32::EPSILON,
            1.0 + 2.0 * f32::EPSILON,
            1.5,
            2.0,
            3.0,
            4097.0,
            8193.0,
            16_777_215.0,
            16_777_216.0,
            f32::from_bits(0x2000_0000),
            f32::from_bits(0x1f80_0001),
            f32::from_bits(0x3380_0000),
            f32::from_bits(0x3380_0001),
            1e19,
            f32::MAX / 2.0,
            f32::MAX,
            f32::INFINITY,
            f32::NAN,
        ];
        positive.iter().flat_map(|&x: &f32| [x, -x]).collect()
    }

    #[test]
    fn software_fma_is_exact_for_edge_cases() {
        for &a in &edges() {
            for &b in &edges() {
                for &c in &edges() {
                    assert_fused(a, b, c);
                }
            }
        }
    }

    /// Returns addends `c` near four values: the negated product of `a` and `b`, half an ulp of the
    /// product, a value far above the product, and -`a`.
    fn addends(a: f32, b: f32, raw: u32) -> [f32; 4] {
        let product = a * b;
        let near = |x: f32| f32::from_bits(x.to_bits().wrapping_add(raw % 7).wrapping_sub(3));
        [near(-product), near(product * f32::EPSILON / 2.0), near(product / f32::EPSILON), near(-a)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200_000))]

        #[test]
        fn software_fma_is_exact_for_any_bits(a: u32, b: u32, c: u32) {
            let (a, b) = (f32::from_bits(a), f32::from_bits(b));
            assert_fused(a, b, f32::from_bits(c));
            for addend in addends(a, b, c) {
                assert_fused(a, b, addend);
            }
        }

        #[test]
        fn software_fma_is_exact_near_ties(a in 0u32..1 << 12, b in 0u32..1 << 12, c: u32) {
            // Values with few mantissa bits produce exact products, and sums half-way between two
            // f32 values.
            let (a, b) = (f32::from_bits(0x3f80_0000 | a << 11), f32::from_bits(0x2000_0000 | b << 11));
            for addend in addends(a, b, c) {
                assert_fused(a, b, addend);
                assert_fused(a, -b, addend);
                assert_fused(a * 1e-30, b, addend * 1e-30);
            }
        }

        #[test]
        fn software_fma_is_exact_just_off_a_tie(a in 0u32..1 << 23, c in 0u32..1 << 23) {
            // a · (1/a) is almost 1, so a · b is almost half an ulp of `c`. An f64 is too short to
            // tell the exact sum from a tie.
            let a = f32::from_bits(0x3f80_0000 | a);
            let c = f32::from_bits(0x3f80_0000 | c);
            let b = (1.0 / a) * 2f32.powi(-24);
            for b in [b, f32::from_bits(b.to_bits() + 1), f32::from_bits(b.to_bits() - 1)] {
                assert_fused(a, b, c);
                assert_fused(a, -b, c);
                assert_fused(a, -b, -c);
            }
        }
    }
}
