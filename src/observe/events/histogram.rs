//! A histogram over TensorFlow's buckets (`tensorflow/core/lib/histogram/histogram.cc`).

use std::sync::LazyLock;

/// The upper ends of the buckets, ascending: 0, and on either side of it from 1e-12 to 1e20 in steps
/// of a tenth, and all that is beyond. A value that is a bucket's end is in the next one.
static LIMITS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let positive: Vec<_> =
        std::iter::successors(Some(1e-12), |end| Some(end * 1.1).filter(|end| *end < 1e20))
            .chain([f64::MAX])
            .collect();
    let negative = positive.iter().rev().map(|end| -end);
    negative.chain([0.0]).chain(positive.iter().copied()).collect()
});

/// How values are distributed.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    min: f64,
    max: f64,
    n_values: u64,
    sum: f64,
    sum_squares: f64,
    /// As long as [`LIMITS`].
    counts: Vec<u64>,
    is_finite: bool,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The end that is not in it.
    pub limit: f64,
    /// How many values it holds.
    pub count: f64,
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
    /// Counts values.
    pub fn add(&mut self, values: &[f32]) {
        for value in values.iter().copied().map(f64::from) {
            let bucket = LIMITS.partition_point(|limit| *limit <= value);
            // Of infinity and NaN there is no bucket.
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

    /// Whether all values were numbers. TensorFlow makes no histogram of others.
    #[must_use]
    pub const fn is_finite(&self) -> bool {
        self.is_finite
    }

    /// The smallest value.
    #[must_use]
    pub const fn min(&self) -> f64 {
        self.min
    }

    /// The largest value.
    #[must_use]
    pub const fn max(&self) -> f64 {
        self.max
    }

    /// How many values there are.
    #[must_use]
    pub const fn n_values(&self) -> u64 {
        self.n_values
    }

    /// Their sum, added in the order in which they came.
    #[must_use]
    pub const fn sum(&self) -> f64 {
        self.sum
    }

    /// The sum of their squares, likewise.
    #[must_use]
    pub const fn sum_squares(&self) -> f64 {
        self.sum_squares
    }

    /// The buckets, each run of empty ones as one; at least one.
    #[must_use]
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut buckets: Vec<Bucket> = Vec::new();
        for (&limit, &count) in LIMITS.iter().zip(&self.counts) {
            let bucket = Bucket { limit, count: count as f64 };
            match buckets.last_mut() {
                Some(last) if last.count == 0.0 && count == 0 => last.limit = limit,
                _ => buckets.push(bucket),
            }
        }
        buckets
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
    fn the_limits_are_those_of_tensorflow() {
        assert_eq!(LIMITS.len(), 2 * 775 + 1);
        assert!(LIMITS.is_sorted_by(|a, b| a < b));
        assert_eq!(LIMITS[LIMITS.len() / 2], 0.0);
        assert_eq!(LIMITS[LIMITS.len() / 2 + 1..][..2], [1e-12, 1e-12 * 1.1]);
    }

    #[test]
    fn a_value_at_a_limit_is_in_the_bucket_above() {
        let buckets = of(&[0.0, 0.0, 1.0]).buckets();
        let held: Vec<_> = buckets.iter().filter(|bucket| bucket.count > 0.0).collect();
        assert_eq!(held[0], &Bucket { limit: 1e-12, count: 2.0 });
        assert!(held[1].limit > 1.0 && held[1].limit < 1.1 && held[1].count == 1.0);
    }

    #[test]
    fn nothing_is_one_empty_bucket() {
        assert_eq!(of(&[]).buckets(), [Bucket { limit: f64::MAX, count: 0.0 }]);
    }

    #[test]
    fn what_is_no_number_is_told() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!of(&[1.0, value]).is_finite(), "{value}");
        }
        assert!(of(&[f32::MAX, f32::MIN]).is_finite());
    }
}
