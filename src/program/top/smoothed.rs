//! A rate that is averaged over the last seconds. This file reads no clock.

use std::time::Duration;

/// The time after which the weight of a measurement has fallen to 1/e.
const TIME_CONSTANT: Duration = Duration::from_secs(5);

/// An exponential moving average whose weights depend on time, not on the number of measurements.
/// So an early or late measurement does not change how fast the average follows the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Smoothed(Option<f64>);

impl Smoothed {
    /// Adds `rate`, the mean rate over the last `elapsed`, and returns the new average. The first
    /// rate becomes the average, so that the displayed value does not rise slowly from 0.
    pub(super) fn add(&mut self, rate: f64, elapsed: Duration) -> f64 {
        let kept = libm::exp(-elapsed.as_secs_f64() / TIME_CONSTANT.as_secs_f64());
        let average = self.0.map_or(rate, |average| kept * average + (1.0 - kept) * rate);
        self.0 = Some(average);
        average
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn first_rate_is_not_smoothed() {
        assert_eq!(Smoothed::default().add(400.0, SECOND), 400.0);
    }

    #[test]
    fn average_follows_63_percent_of_a_change_after_the_time_constant() {
        let mut rate = Smoothed::default();
        rate.add(0.0, SECOND);
        let after_5_s = (0..5).map(|_| rate.add(100.0, SECOND)).last().unwrap();
        assert!((after_5_s - 63.212).abs() < 1e-3, "{after_5_s}");
    }

    #[test]
    fn average_depends_on_the_time_and_not_on_the_number_of_samples() {
        let (mut often, mut once) = (Smoothed::default(), Smoothed::default());
        often.add(10.0, SECOND);
        once.add(10.0, SECOND);
        let of_often = (0..40).map(|_| often.add(30.0, SECOND / 10)).last().unwrap();
        let of_once = once.add(30.0, 4 * SECOND);
        assert!((of_often - of_once).abs() < 1e-9, "{of_often} {of_once}");
    }

    #[test]
    fn sample_after_a_long_gap_replaces_the_average() {
        let mut rate = Smoothed::default();
        rate.add(1000.0, SECOND);
        assert!(rate.add(1.0, Duration::from_secs(120)) < 1.001);
    }
}
