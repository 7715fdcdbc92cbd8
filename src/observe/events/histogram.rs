//! A histogram with TensorFlow's buckets (`tensorflow/core/lib/histogram/histogram.cc`).

use std::sync::LazyLock;

/// Upper limits of the buckets, ascending. The positive limits start at 1e-12 and grow by a factor
/// of 1.1 up to 1e20. The last limit is `f64::MAX`. The negative limits mirror the positive limits,
/// and 0 is a limit, too. A value that equals a limit belongs to the next bucket.
static LIMITS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let positive: Vec<_> =
        std::iter::successors(Some(1e-12), |end| Some(end * 1.1).filter(|end| *end < 1e20))
            .chain([f64::MAX])
            .collect();
    let negative = positive.iter().rev().map(|end| -end);
    negative.chain([0.0]).chain(positive.iter().copied()).collect()
});

/// The distribution of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) n_values: u64,
    /// Sum, added in the order of the values.
    pub(super) sum: f64,
    pub(super) sum_squares: f64,
    /// Number of values in each bucket, parallel to [`LIMITS`].
    counts: Vec<u64>,
    /// Whether all values are finite. TensorFlow creates no histogram if a value is infinite or NaN.
    pub(super) is_finite: bool,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            min: f64::MAX,
            max: -f64::MAX,
            n_values: 0,
            sum: 0.0,
            sum_squares: 0.0,
            counts: vec![0; LIMITS.len()],
            is_finite: true,
        }
    }
}

impl Histogram {
    /// Adds values.
    pub fn add(&mut self, values: &[f32]) {
        for value in values.iter().copied().map(f64::from) {
            // `<=`, because a value equal to a limit belongs to the next bucket.
            let bucket = LIMITS.partition_point(|limit| *limit <= value);
            // Infinity and NaN have no bucket.
            let Some(count) = self.counts.get_mut(bucket).filter(|_| value.is_finite()) else {
                self.is_finite = false;
                continue;
            };
            *count += 1;
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.sum += value;
            self.sum_squares += value * value;
        }
        self.n_values += values.len() as u64;
    }

    /// Returns the exclusive upper limit of each bucket, and its number of values. Merges consecutive
    /// empty buckets into one. There is always at least one bucket.
    pub(crate) fn buckets(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut limits, mut counts) = (Vec::new(), Vec::new());
        for (&limit, &count) in LIMITS.iter().zip(&self.counts) {
            if count == 0 && counts.last() == Some(&0.0) {
                limits.pop();
                counts.pop();
            }
            limits.push(limit);
            counts.push(count as f64);
        }
        (limits, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(values);
        histogram
    }

    #[test]
    fn bucket_limits_match_tensorflow() {
        assert_eq!(LIMITS.len(), 2 * 775 + 1);
        assert!(LIMITS.is_sorted_by(|a, b| a < b));
        assert_eq!(LIMITS[LIMITS.len() / 2], 0.0);
        assert_eq!(LIMITS[LIMITS.len() / 2 + 1..][..2], [1e-12, 1e-12 * 1.1]);
    }

    #[test]
    fn value_at_a_limit_is_in_the_next_bucket() {
        let (limits, counts) = of(&[0.0, 0.0, 1.0]).buckets();
        let buckets = limits.into_iter().zip(counts);
        let held: Vec<_> = buckets.filter(|(_, count)| *count > 0.0).collect();
        assert_eq!(held[0], (1e-12, 2.0));
        assert!(held[1].0 > 1.0 && held[1].0 < 1.1 && held[1].1 == 1.0);
    }

    #[test]
    fn histogram_without_values_has_one_empty_bucket() {
        assert_eq!(of(&[]).buckets(), (vec![f64::MAX], vec![0.0]));
    }

    #[test]
    fn histogram_with_infinity_or_nan_is_not_finite() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!of(&[1.0, value]).is_finite, "{value}");
        }
        assert!(of(&[f32::MAX, f32::MIN]).is_finite);
    }
}
