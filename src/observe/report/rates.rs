//! Steps per second over a run.

use super::columns::Curve;
use crate::trace::updates::UpdateMade;

/// Maximum number of points of the curve. More points would only show the noise of single updates.
const MAX_POINTS: usize = 200;
/// Minimum number of updates for each point. A point of fewer updates would show the noise of
/// single updates.
const MIN_UPDATES: usize = 5;

/// Returns the curve of steps per second of a run. `updates` must be ascending by step.
///
/// The curve begins with the first update, because the tasks only connect to each other before
/// that. An interruption of the run lowers the rate of the point that includes the interruption.
pub(super) fn of_updates(updates: &[UpdateMade]) -> Curve<f32> {
    let mut rates = Curve::default();
    let n_intervals = updates.len().saturating_sub(1);
    let stretch = n_intervals.div_ceil(MAX_POINTS).max(MIN_UPDATES.min(n_intervals.max(1)));
    // The last point may cover fewer updates.
    let ends =
        (stretch..n_intervals).step_by(stretch).chain((n_intervals > 0).then_some(n_intervals));
    let mut begin = 0;
    for end in ends {
        let took = updates[end].at.saturating_sub(updates[begin].at);
        if !took.is_zero() {
            let n_steps = updates[end].step.0.saturating_sub(updates[begin].step.0);
            let rate = (n_steps as f64 / took.as_secs_f64()) as f32;
            rates.extend([(updates[end].step, rate)]);
        }
        begin = end;
    }
    rates
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use unisono_core::ids::Step;

    use super::*;

    fn updates(times: &[u64]) -> Vec<UpdateMade> {
        let update = |(step, at): (u64, &u64)| UpdateMade {
            step: Step(step),
            at: Duration::from_millis(*at),
            slots: Vec::new(),
            last: None,
            margin: Duration::ZERO,
            n_times: 1,
        };
        (0..).zip(times).map(update).collect()
    }

    #[test]
    fn rate_is_steps_divided_by_elapsed_time() {
        // Steps 0 to 10 take 10 ms each. Then the run makes no progress for a second.
        let times: Vec<u64> = (0..=10).map(|step| 100 + 10 * step).chain([1210, 1220]).collect();
        let Curve { step, value: rate } = of_updates(&updates(&times));
        assert_eq!(step, [5, 10, 12]);
        assert_eq!(rate[..2], [100.0, 100.0]);
        assert!((rate[2] - 2.0 / 1.02).abs() < 1e-5, "{rate:?}");
    }

    #[test]
    fn long_run_has_at_most_the_maximum_number_of_points_and_ends_with_the_last_step() {
        let times: Vec<u64> = (0..100_000).map(|step| 3 * step).collect();
        let Curve { step, value: rate } = of_updates(&updates(&times));
        assert!(step.len() <= MAX_POINTS, "{}", step.len());
        assert_eq!(step.last(), Some(&99_999));
        assert!(rate.iter().all(|rate| (rate - 1000.0 / 3.0).abs() < 0.01), "{rate:?}");
    }

    #[test]
    fn run_without_two_updates_or_without_times_has_no_rate() {
        for times in [&[][..], &[7], &[0, 0, 0]] {
            assert_eq!(of_updates(&updates(times)), Curve::default(), "{times:?}");
        }
    }
}
