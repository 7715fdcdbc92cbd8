//! Random durations.

use std::time::Duration;

use unisono_core::random::Stream;

/// A distribution of durations.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same duration.
    Const(Duration),
    /// Every duration from `min` to `max`, both included, with equal probability.
    Uniform {
        /// The shortest duration.
        min: Duration,
        /// The longest duration.
        max: Duration,
    },
    /// Memoryless: `min` plus an exponential duration with this mean.
    Exponential {
        /// The shortest duration.
        min: Duration,
        /// The mean of the exponential part.
        mean: Duration,
    },
    /// The duration is `rare` with the probability `share`, and otherwise `usual`. This
    /// distribution models pauses of a garbage collector, or other programs on the same machine.
    Bimodal {
        /// The usual duration.
        usual: Duration,
        /// The rare duration.
        rare: Duration,
        /// The probability of the rare duration, from 0 to 1.
        share: f64,
    },
    /// Heavy-tailed (Pareto): `min` · u^(−1/`shape`) for a uniform u in (0, 1], but at most `max`.
    Pareto {
        /// The shortest duration.
        min: Duration,
        /// The exponent, above 0. The exponent 1.5 gives a long tail, and the exponent 3 a short
        /// tail.
        shape: f64,
        /// The longest duration.
        max: Duration,
    },
}

impl Distribution {
    /// Always no time at all.
    pub const ZERO: Self = Self::Const(Duration::ZERO);

    /// Draws a duration in whole nanoseconds. A constant duration draws nothing from the random
    /// stream.
    pub fn sample(&self, stream: &mut Stream) -> Duration {
        match *self {
            Self::Const(always) => always,
            Self::Uniform { min, max } => {
                let span = nanos(max.saturating_sub(min)).saturating_add(1);
                min + Duration::from_nanos(stream.below(span))
            }
            Self::Exponential { min, mean } => {
                // `1 - unit` is in (0, 1], so its logarithm is finite.
                let factor = -libm::log(1.0 - stream.unit());
                min + scale(mean, factor)
            }
            Self::Bimodal { usual, rare, share } => {
                if stream.unit() < share {
                    rare
                } else {
                    usual
                }
            }
            Self::Pareto { min, shape, max } => {
                let factor = libm::pow(1.0 - stream.unit(), -1.0 / shape);
                scale(min, factor).min(max)
            }
        }
    }

    /// Returns the duration, if it is constant.
    pub(crate) fn constant(&self) -> Option<Duration> {
        match *self {
            Self::Const(always) => Some(always),
            _ => None,
        }
    }
}

/// Returns a duration in nanoseconds, at most 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns `duration` · `factor`, rounded down to nanoseconds.
pub(crate) fn scale(duration: Duration, factor: f64) -> Duration {
    // The conversion saturates at 0 and at the largest integer.
    Duration::from_nanos((nanos(duration) as f64 * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Purpose;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn draw(distribution: &Distribution) -> Vec<Duration> {
        let mut stream = Stream::new(7, Purpose::Compute, 0, 0);
        (0..10_000).map(|_| distribution.sample(&mut stream)).collect()
    }

    fn mean(samples: &[Duration]) -> f64 {
        samples.iter().map(Duration::as_secs_f64).sum::<f64>() / samples.len() as f64
    }

    #[test]
    fn every_sample_is_in_its_range() {
        let uniform = draw(&Distribution::Uniform { min: ms(2), max: ms(4) });
        assert!(uniform.iter().all(|sample| (ms(2)..=ms(4)).contains(sample)));
        let exponential = draw(&Distribution::Exponential { min: ms(2), mean: ms(3) });
        assert!(exponential.iter().all(|sample| *sample >= ms(2)));
        let pareto = draw(&Distribution::Pareto { min: ms(2), shape: 1.5, max: ms(50) });
        assert!(pareto.iter().all(|sample| (ms(2)..=ms(50)).contains(sample)));
        assert!(pareto.contains(&ms(50)), "the tail reaches the cut");
        let bimodal = draw(&Distribution::Bimodal { usual: ms(1), rare: ms(9), share: 0.25 });
        let n_rare = bimodal.iter().filter(|sample| **sample == ms(9)).count();
        // Six standard deviations of a binomial(10000, 1/4) are 260.
        assert!(n_rare.abs_diff(2_500) < 260, "{n_rare}");
    }

    #[test]
    fn means_match_the_parameters() {
        // The tolerances are six standard errors of the mean of 10,000 samples: 6/100 of 0.577 ms
        // for the uniform distribution, and 6/100 of 3 ms for the exponential one.
        let uniform = mean(&draw(&Distribution::Uniform { min: ms(2), max: ms(4) }));
        assert!((uniform - 3e-3).abs() < 0.035e-3, "{uniform}");
        let exponential = mean(&draw(&Distribution::Exponential { min: ms(2), mean: ms(3) }));
        assert!((exponential - 5e-3).abs() < 0.18e-3, "{exponential}");
    }
}
