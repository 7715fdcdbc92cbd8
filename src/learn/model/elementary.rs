//! `exp` and `ln` in f64, computed with `+ - * /` alone. The platform's functions are not used,
//! because the bits of their results depend on the CPU.
//!
//! On the samples of the tests, both functions are within 1 ulp of the true value. The tests allow
//! a difference of 2 ulp.

/// The upper 32 significant bits of ln 2. The product of this constant and an integer below 2^20 is
/// exact.
const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
/// ln 2 minus [`LN_2_HIGH`].
const LN_2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

/// Returns e^x: 0 below -745.2, infinity above 709.8, and NaN for a NaN.
///
/// The function splits x into n·ln 2 + r, with an integer n and |r| ≤ ln 2 / 2. A Taylor polynomial
/// of degree 13 approximates e^r. The function has no branch, so that a loop over it vectorises.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    /// 1.5·2^52. Adding this constant to a number rounds the number to an integer, ties to even.
    /// The lowest bits of the sum are the integer.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // The argument is limited, so that n stays in range. A NaN becomes LOWEST, because comparisons
    // with a NaN are false.
    let inside = if x > LOWEST { if x < HIGHEST { x } else { HIGHEST } } else { LOWEST };
    let rounded = inside * std::f64::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (inside - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut polynomial = 0.0;
    for coefficient in EXP_COEFFICIENTS {
        polynomial = polynomial * r + coefficient;
    }
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i64;
    // 2^n may be outside the range of normal numbers, so it is applied as two factors.
    let first = exponent.clamp(-1022, 1023);
    let value = polynomial * power_of_two(first) * power_of_two(exponent - first);
    let value = if x > HIGHEST { f64::INFINITY } else { value };
    let value = if x < LOWEST { 0.0 } else { value };
    if x.is_nan() { x } else { value }
}

/// Below this bound, e^x is less than half of the smallest subnormal and rounds to 0.
const LOWEST: f64 = -745.2;
/// Above this bound, e^x exceeds the largest finite f64.
const HIGHEST: f64 = 709.8;

/// 1/13!, 1/12!, …, 1/1!, 1/0!.
const EXP_COEFFICIENTS: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    1.0 / 2.0,
    1.0,
    1.0,
];

/// Returns 2^n for -1022 ≤ n ≤ 1023.
#[inline(always)]
fn power_of_two(n: i64) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

/// Returns the natural logarithm: -∞ for 0, NaN for negative numbers, ∞ for ∞, and NaN for a NaN.
///
/// The function splits x into 2^n·(1 + f), with √½ ≤ 1 + f < √2. With s = f / (2 + f), it computes
/// ln(1 + f) = f - (f²/2 - s·(f²/2 + R)), where R = Σ 2·s^2k / (2k + 1) for k = 1…11. FreeBSD's
/// `e_log.c` arranges the computation in the same way, but uses a fitted polynomial where this
/// function uses the series of the inverse hyperbolic tangent.
pub(crate) fn ln(x: f64) -> f64 {
    /// The upper 32 bits of √½.
    const ROOT_HALF: u64 = 0x3fe6_a09e_0000_0000;
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x <= 0.0 {
        return if x == 0.0 { f64::NEG_INFINITY } else { f64::NAN };
    }
    // The exponent bits of a subnormal do not give n, so a subnormal is multiplied by 2^54 first.
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * power_of_two(54), 54) } else { (x, 0) };
    let n = (x.to_bits().wrapping_sub(ROOT_HALF) as i64) >> 52;
    let f = f64::from_bits(x.to_bits().wrapping_sub((n << 52) as u64)) - 1.0;
    let n = (n - shift) as f64;
    let s = f / (2.0 + f);
    let z = s * s;
    let series = LN_COEFFICIENTS.iter().fold(0.0, |sum, coefficient| sum * z + coefficient) * z;
    let half_square = 0.5 * f * f;
    n * LN_2_HIGH - ((half_square - (s * (half_square + series) + n * LN_2_LOW)) - f)
}

/// 2/23, 2/21, …, 2/5, 2/3.
const LN_COEFFICIENTS: [f64; 11] = [
    2.0 / 23.0,
    2.0 / 21.0,
    2.0 / 19.0,
    2.0 / 17.0,
    2.0 / 15.0,
    2.0 / 13.0,
    2.0 / 11.0,
    2.0 / 9.0,
    2.0 / 7.0,
    2.0 / 5.0,
    2.0 / 3.0,
];

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the platform's exp and ln are the reference")]
mod tests {
    use super::*;

    fn ulps(got: f64, want: f64) -> u64 {
        got.to_bits().abs_diff(want.to_bits())
    }

    #[test]
    fn exp_is_within_2_ulp_of_the_reference() {
        let mut worst = (0, 0.0);
        for i in 0..2_000_000 {
            let x = -745.0 + 1454.5 * (f64::from(i) / 2_000_000.0);
            worst = worst.max_by_ulps(ulps(exp(x), x.exp()), x);
            let small = x / 700.0;
            worst = worst.max_by_ulps(ulps(exp(small), small.exp()), small);
        }
        assert!(worst.0 <= 2, "{worst:?}");
    }

    #[test]
    fn ln_is_within_2_ulp_of_the_reference() {
        let mut worst = (0, 0.0);
        for i in 1..2_000_000u32 {
            let x = f64::from(i) / 500_000.0;
            worst = worst.max_by_ulps(ulps(ln(x), x.ln()), x);
            let any = f64::from_bits(u64::from(i) * 4_611_686_018);
            worst = worst.max_by_ulps(ulps(ln(any), any.ln()), any);
        }
        assert!(worst.0 <= 2, "{worst:?}");
    }

    trait Worst {
        fn max_by_ulps(self, ulps: u64, at: f64) -> Self;
    }

    impl Worst for (u64, f64) {
        fn max_by_ulps(self, ulps: u64, at: f64) -> Self {
            if ulps > self.0 { (ulps, at) } else { self }
        }
    }

    #[test]
    fn exp_and_ln_return_the_limits_outside_their_ranges() {
        assert_eq!((exp(0.0), exp(-0.0), exp(-800.0), exp(800.0)), (1.0, 1.0, 0.0, f64::INFINITY));
        assert_eq!((exp(f64::NEG_INFINITY), exp(f64::INFINITY)), (0.0, f64::INFINITY));
        assert!(exp(f64::NAN).is_nan() && ln(f64::NAN).is_nan() && ln(-1.0).is_nan());
        assert_eq!((ln(1.0), ln(0.0), ln(f64::INFINITY)), (0.0, f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn exp_and_ln_keep_their_recorded_bits() {
        let exps = [-0.5, -1.0, -10.25, 1.0, 700.5].map(|x| exp(x).to_bits());
        let lns = [0.1, 0.7, 2.0, 10.0, 1e-310].map(|x| ln(x).to_bits());
        insta::assert_snapshot!(format!("{exps:016x?} {lns:016x?}"), @"[3fe368b2fc6f960a, 3fd78b56362cef38, 3f02899a7a835446, 4005bf0a8b14576a, 7f18625c7d4f56c2] [c0026bb1bbb55515, bfd6d3c324e13f50, 3fe62e42fefa39ef, 40026bb1bbb55516, c0864e69394d9508]");
    }
}
