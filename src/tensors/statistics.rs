//! Statistics of a tensor's values.

use serde::Serialize;

use crate::tensor::AnyTensor;

/// Statistics of the finite values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Smallest finite value.
    pub min: f64,
    /// Largest finite value.
    pub max: f64,
    /// Mean of the finite values.
    pub mean: f64,
    /// Number of infinite and NaN values. The other statistics ignore these values.
    pub not_finite: u64,
}

impl Statistics {
    /// Returns the statistics of a tensor. Returns `None` if no value is finite, or if the type is
    /// not supported, such as `F16` and complex numbers.
    pub(super) fn of(tensor: &AnyTensor) -> Option<Self> {
        let (mut min, mut max, mut sum) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
        let (mut n_finite, mut not_finite) = (0u64, 0);
        let is_read = tensor.for_each_number(|value| {
            if value.is_finite() {
                (min, max, sum) = (min.min(value), max.max(value), sum + value);
                n_finite += 1;
            } else {
                not_finite += 1;
            }
        });
        let mean = sum / n_finite as f64;
        (is_read && n_finite > 0).then_some(Self { min, max, mean, not_finite })
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::Dtype;

    use super::*;

    fn of(dtype: Dtype, bytes: &[u8]) -> Option<Statistics> {
        Statistics::of(&AnyTensor::new(dtype, &[bytes.len() * 8 / dtype.bitsize()], bytes))
    }

    #[test]
    fn values_that_are_not_finite_are_counted_and_ignored() {
        let values = [1.0f32, f32::NAN, -2.0, f32::INFINITY, 4.0].map(f32::to_le_bytes).concat();
        let expected = Statistics { min: -2.0, max: 4.0, mean: 1.0, not_finite: 2 };
        assert_eq!(of(Dtype::F32, &values), Some(expected));
    }

    #[test]
    fn statistics_support_every_number_type() {
        let is =
            |value: f64| Some(Statistics { min: value, max: value, mean: value, not_finite: 0 });
        assert_eq!(of(Dtype::I16, &(-3i16).to_le_bytes()), is(-3.0));
        assert_eq!(of(Dtype::U64, &300u64.to_le_bytes()), is(300.0));
        assert_eq!(of(Dtype::BF16, &[0x80, 0x3f]), is(1.0));
        assert_eq!(of(Dtype::BOOL, &[1]), is(1.0));
        assert_eq!(of(Dtype::C64, &[0; 8]), None);
        assert_eq!(of(Dtype::F64, &[]), None);
    }
}
