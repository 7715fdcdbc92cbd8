//! Random durations.

use std::time::Duration;

use unisono_core::random::Stream;

/// How long something takes, each time anew.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Const(Duration),
    /// Anything from `min` to `max`, both included, equally likely.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Memoryless, with this mean, on top of `min`.
    Exponential {
        /// The shortest.
        min: Duration,
        /// The mean of what comes on top.
        mean: Duration,
    },
    /// Mostly `usual`, but with probability `share` it is `rare`: pauses of a garbage collector,
    /// a neighbour on the same machine.
    Bimodal {
        /// The usual time.
        usual: Duration,
        /// The other one.
        rare: Duration,
        /// The probability of the other one, from 0 to 1.
        share: f64,
    },
    /// Heavy-tailed, after Pareto: `min` · u^(−1/`shape`) for a uniform u in (0, 1], cut at `max`.
    Pareto {
        /// The shortest.
        min: Duration,
        /// The tail's exponent, above 0; 1.5 is long, 3 is short.
        shape: f64,
        /// The longest.
        max: Duration,
    },
}

impl Distribution {
    /// Nothing at all.
    pub const ZERO: Self = Self::Const(Duration::ZERO);

    /// Draws one, in whole nanoseconds. A constant draws nothing from the stream.
    pub fn sample(&self, stream: &mut Stream) -> Duration {
        match *self {
            Self::Const(always) => always,
            Self::Uniform { min, max } => {
                let span = nanos(max.saturating_sub(min)).saturating_add(1);
                min + Duration::from_nanos(stream.below(span))
            }
            Self::Exponential { min, mean } => {
                // The complement is in (0, 1], and its logarithm finite.
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

    /// The only value, if there is only one.
    #[must_use]
    pub fn constant(&self) -> Option<Duration> {
        match *self {
            Self::Const(always) => Some(always),
            _ => None,
        }
    }
}

/// A duration in nanoseconds; 584 years is as long as it gets.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `duration` · `factor`, to the nanosecond below.
pub(crate) fn scale(duration: Duration, factor: f64) -> Duration {
    // A float becomes the nearest integer that there is: never below 0, never above the largest.
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
    fn the_means_are_what_was_asked_for() {
        // Within six standard errors: 0.0577 ms·6/100 of ms for the uniform, 3·6/100 for the other.
        let uniform = mean(&draw(&Distribution::Uniform { min: ms(2), max: ms(4) }));
        assert!((uniform - 3e-3).abs() < 0.035e-3, "{uniform}");
        let exponential = mean(&draw(&Distribution::Exponential { min: ms(2), mean: ms(3) }));
        assert!((exponential - 5e-3).abs() < 0.18e-3, "{exponential}");
    }
}
