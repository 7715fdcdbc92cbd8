//! The axes of the loss curve. The bounds of an axis are round numbers that do not change with
//! every new loss.

/// The number of losses per outlier at each end of the range: of 100 losses, the 2 smallest and the
/// 2 largest count as outliers. Fewer losses than this number have no outliers.
const ONE_OUTLIER_IN: usize = 50;

/// A y axis that grows includes zero, unless the span of the losses is less than this fraction of
/// the largest absolute loss.
const NARROW_TO_GROW: f64 = 1.0 / 4.0;
/// The fraction that replaces `NARROW_TO_GROW` for a y axis that shrinks. This fraction is smaller,
/// so that losses near the limit do not make the axis switch back and forth.
const NARROW_TO_SHRINK: f64 = 1.0 / 8.0;

/// The y axis shrinks if the span of the new axis is less than this fraction of the span of the old
/// axis.
const SHRINK_BELOW: f64 = 0.5;

/// The approximate number of intervals into which the ticks divide an axis.
const PARTS: f64 = 5.0;

/// The largest loss that the axis covers. A loss of a run is an `f32`, so only a damaged or foreign
/// file contains larger losses.
const LARGEST: f64 = 1e39;

/// The share of the training after which the x axis extends to the last step of the training.
/// Earlier, an axis of this length would make the curve too narrow to read.
const SHOW_ALL_STEPS_FROM: f64 = 0.2;

/// The y axis of the loss curve. Each poll of the targets may change the axis.
///
/// The axis covers all finite losses, unless the outliers alone would take up more than half of the
/// axis.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LossAxis(Option<Ticks>);

impl LossAxis {
    /// Adapts the axis to the losses. The axis grows at once, but shrinks only if the span of the
    /// new axis is less than half of the old span.
    pub(super) fn fit(&mut self, losses: impl Iterator<Item = f64>) {
        let mut losses: Vec<_> = losses.filter(|loss| loss.is_finite()).collect();
        losses.sort_unstable_by(f64::total_cmp);
        let Some(data) = Data::of_sorted(&losses) else {
            self.0 = None;
            return;
        };
        let (grown, shrunk) = (data.ticks(NARROW_TO_GROW), data.ticks(NARROW_TO_SHRINK));
        self.0 = Some(match self.0 {
            Some(ticks) if !ticks.cover(data.bulk) => grown,
            Some(ticks) if shrunk.span() >= SHRINK_BELOW * ticks.span() => ticks,
            // There was no axis before, or the new axis is less than half as long as the old one.
            _ => shrunk,
        });
    }

    /// Returns the ticks; `None` if no loss is finite.
    pub(super) const fn ticks(&self) -> Option<Ticks> {
        self.0
    }
}

/// A closed interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    low: f64,
    high: f64,
}

/// The ranges of losses that determine an axis.
#[derive(Clone, Copy, Debug)]
struct Data {
    all: Range,
    /// The range of the losses without outliers.
    bulk: Range,
    /// Whether there are too few losses to predict the range of later losses.
    are_few: bool,
}

impl Data {
    fn of_sorted(losses: &[f64]) -> Option<Self> {
        let n_outliers = losses.len() / ONE_OUTLIER_IN;
        let range = |losses: &[f64]| {
            let bounded = |loss: &f64| loss.clamp(-LARGEST, LARGEST);
            Some(Range { low: losses.first().map(bounded)?, high: losses.last().map(bounded)? })
        };
        let bulk = range(&losses[n_outliers..losses.len() - n_outliers])?;
        Some(Self { all: range(losses)?, bulk, are_few: n_outliers == 0 })
    }

    fn ticks(&self, narrow: f64) -> Ticks {
        let narrow = if self.are_few { 0.0 } else { narrow };
        let ticks = |range: Range| Ticks::around(range.with_zero_unless(narrow));
        let (of_all, of_bulk) = (ticks(self.all), ticks(self.bulk));
        if SHRINK_BELOW * of_all.span() <= of_bulk.span() { of_all } else { of_bulk }
    }
}

impl Range {
    fn span(self) -> f64 {
        self.high - self.low
    }

    /// Extends the range to include zero, unless the span of the range is less than the fraction
    /// `narrow` of the largest absolute value in the range.
    fn with_zero_unless(self, narrow: f64) -> Self {
        let way = self.low.abs().max(self.high.abs());
        if self.span() < narrow * way {
            return self;
        }
        Self { low: self.low.min(0.0), high: self.high.max(0.0) }
    }
}

/// The ticks of an axis: round numbers at equal distances. The first and the last tick are the
/// bounds of the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ticks {
    distance: Round,
    /// The lowest tick, as a multiple of `distance`.
    first: f64,
    /// The highest tick, as a multiple of `distance`.
    last: f64,
}

impl Ticks {
    /// Returns the ticks of the smallest axis that covers a range.
    fn around(range: Range) -> Self {
        // Even a range of a single value needs an axis that is wide enough for `f64` to distinguish
        // its intervals.
        let least = (range.low.abs().max(range.high.abs()) * 1e-3).max(1e-9);
        let distance = Round::at_least(range.span().max(least) / PARTS);
        let first = (range.low / distance.value(1.0)).floor();
        let last = (range.high / distance.value(1.0)).ceil().max(first + 1.0);
        Self { distance, first, last }
    }

    fn cover(self, range: Range) -> bool {
        self.low() <= range.low && range.high <= self.high()
    }

    pub(super) fn low(self) -> f64 {
        self.distance.value(self.first)
    }

    pub(super) fn high(self) -> f64 {
        self.distance.value(self.last)
    }

    fn span(self) -> f64 {
        self.distance.value(self.last - self.first)
    }

    /// Returns all values, ascending.
    pub(super) fn values(self) -> Vec<f64> {
        let count = (self.last - self.first) as u32;
        (0..=count).map(|nth| self.distance.value(self.first + f64::from(nth))).collect()
    }
}

/// A number that is 1, 2 or 5 times a power of ten.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Round {
    digit: f64,
    exponent: i32,
}

impl Round {
    /// Returns the smallest round number that is not below `number`, which must be positive.
    fn at_least(number: f64) -> Self {
        let exponent = libm::log10(number).floor() as i32;
        let digits = [1.0, 2.0, 5.0].map(|digit| Self { digit, exponent });
        let next = Self { digit: 1.0, exponent: exponent + 1 };
        digits.into_iter().find(|round| round.value(1.0) >= number).unwrap_or(next)
    }

    /// Returns the product of `times` and this number. For a negative exponent, the function
    /// divides by a power of ten, because in `f64` 3 / 10 is 0.3, but 3 × 0.1 is not.
    fn value(self, times: f64) -> f64 {
        let power = 10_f64.powi(self.exponent.abs());
        if self.exponent < 0 { times * self.digit / power } else { times * self.digit * power }
    }
}

/// Returns the bounds of the x axis. The axis begins at or shortly before the step `first`. The
/// axis ends at the last step of the training if that step is known and not too far away, and
/// otherwise at a round number.
pub(super) fn steps(first: f64, newest: f64, training_steps: Option<u64>) -> [f64; 2] {
    let newest = newest.max(first).max(1.0);
    let round = Round::at_least(newest).value(1.0);
    let end = match training_steps.map(|steps| steps as f64) {
        Some(all) if newest > all => round,
        Some(all) if newest >= SHOW_ALL_STEPS_FROM * all => all,
        Some(all) => round.min(all),
        None => round,
    };
    // The axis begins near the first point, so that a curve that begins late uses the whole width.
    // When points are merged, the first point moves a little. The lower bound is rounded to a tenth
    // of the axis, so that it seldom moves.
    let begin = (first / (end / 10.0)).floor() * (end / 10.0);
    [begin.max(0.0).floor(), end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(axis: &LossAxis) -> [f64; 2] {
        let ticks = axis.ticks().expect("there are losses");
        [ticks.low(), ticks.high()]
    }

    fn fitted(losses: &[f64]) -> LossAxis {
        let mut axis = LossAxis::default();
        axis.fit(losses.iter().copied());
        axis
    }

    /// Returns `n` losses that begin with `first` and fall towards `last`.
    fn falling(first: f64, last: f64, n: u32) -> Vec<f64> {
        (0..n).map(|step| last + (first - last) / (1.0 + f64::from(step) / 10.0)).collect()
    }

    #[test]
    fn bounds_and_ticks_of_an_axis_are_round_numbers() {
        for (losses, ticks) in [
            (&[2.437, 0.228][..], &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5][..]),
            (&[0.29, 0.011], &[0.0, 0.1, 0.2, 0.3]),
            (&[1e-3, 7.1e-3], &[0.0, 0.002, 0.004, 0.006, 0.008]),
            (&[-130.0, 60.0], &[-150.0, -100.0, -50.0, 0.0, 50.0, 100.0]),
            (&[2.3], &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5]),
            (&[0.0], &[0.0, 2e-10]),
        ] {
            assert_eq!(fitted(losses).ticks().unwrap().values(), ticks, "{losses:?}");
        }
    }

    #[test]
    fn axis_rarely_moves_while_losses_fall() {
        let losses = falling(2.5, 0.05, 2000);
        let mut axis = LossAxis::default();
        let mut seen = Vec::new();
        for n in 1..=losses.len() {
            axis.fit(losses[..n].iter().copied());
            seen.push(bounds(&axis));
        }
        seen.dedup();
        assert!(seen.len() <= 4, "{seen:?}");
    }

    #[test]
    fn axis_grows_at_once_and_shrinks_only_below_half() {
        let mut axis = fitted(&[1.9, 0.5]);
        assert_eq!(bounds(&axis), [0.0, 2.0]);
        axis.fit([1.1, 0.5].into_iter());
        assert_eq!(bounds(&axis), [0.0, 2.0], "a new axis to 1.5 is no reason");
        axis.fit([2.1, 0.5].into_iter());
        assert_eq!(bounds(&axis), [0.0, 2.5]);
        axis.fit([0.9, 0.5].into_iter());
        assert_eq!(bounds(&axis), [0.0, 1.0]);
    }

    #[test]
    fn alternating_losses_do_not_make_the_axis_alternate() {
        let wide: Vec<_> = (0..100).map(|k| 1.0 - f64::from(k) * 0.0028).collect();
        let less_wide: Vec<_> = (0..100).map(|k| 1.0 - f64::from(k) * 0.0024).collect();
        let mut axis = fitted(&wide);
        let expected = bounds(&axis);
        for _ in 0..5 {
            axis.fit(less_wide.iter().copied());
            assert_eq!(bounds(&axis), expected);
            axis.fit(wide.iter().copied());
            assert_eq!(bounds(&axis), expected);
        }
    }

    #[test]
    fn outlier_at_the_first_step_does_not_flatten_the_curve() {
        let mut losses = vec![300.0];
        losses.extend(falling(2.5, 0.5, 30));
        let mut axis = fitted(&losses);
        assert_eq!(bounds(&axis), [0.0, 300.0], "with few losses all are covered");
        losses.extend(falling(1.0, 0.5, 30));
        axis.fit(losses.iter().copied());
        assert_eq!(bounds(&axis), [0.0, 2.5]);
    }

    #[test]
    fn plateau_far_from_zero_fills_the_whole_axis() {
        let plateau: Vec<_> = (0..200).map(|k| 3.0 + f64::from(k % 10) * 0.01).collect();
        assert_eq!(bounds(&fitted(&plateau)), [3.0, 3.1]);
        assert_eq!(bounds(&fitted(&plateau[..20])), [0.0, 4.0], "too few to zoom in");
    }

    #[test]
    fn losses_that_are_not_finite_do_not_count() {
        let mut axis = fitted(&[f64::NAN, f64::INFINITY, 1.9, f64::NEG_INFINITY, 0.3]);
        assert_eq!(bounds(&axis), [0.0, 2.0]);
        axis.fit([f64::NAN].into_iter());
        assert_eq!(axis.ticks(), None);
        assert_eq!(fitted(&[]).ticks(), None);
    }

    #[test]
    fn axis_is_finite_for_all_finite_losses() {
        for losses in [
            &[f64::MAX, f64::MIN][..],
            &[f64::MAX],
            &[f64::MIN_POSITIVE, -f64::MIN_POSITIVE],
            &[-0.0],
            &[1e30, 1e30 + 1e15],
        ] {
            let values = fitted(losses).ticks().unwrap().values();
            assert!((2..=8).contains(&values.len()), "{losses:?} {values:?}");
            assert!(values.is_sorted_by(|a, b| a < b && b.is_finite()), "{losses:?} {values:?}");
        }
    }

    #[test]
    fn step_axis_ends_at_the_last_step_or_at_a_round_number() {
        assert_eq!(steps(0.0, 2000.0, Some(10_000)), [0.0, 10_000.0]);
        assert_eq!(steps(0.0, 9_999.0, Some(10_000)), [0.0, 10_000.0]);
        assert_eq!(steps(0.5, 1233.0, None), [0.0, 2000.0]);
        assert_eq!(steps(0.0, 0.0, None), [0.0, 1.0]);
        assert_eq!(steps(0.0, 600.0, Some(500)), [0.0, 1000.0], "the number was of another start");
    }

    #[test]
    fn step_axis_of_a_long_training_grows_with_its_progress() {
        assert_eq!(steps(0.0, 450.0, Some(1_000_000)), [0.0, 500.0]);
        assert_eq!(steps(0.0, 150_000.0, Some(1_000_000)), [0.0, 200_000.0]);
        assert_eq!(steps(0.0, 150_000.0, Some(900_000)), [0.0, 200_000.0]);
        assert_eq!(steps(0.0, 190.0, Some(1_000)), [0.0, 200.0]);
        assert_eq!(steps(0.0, 17.0, Some(18)), [0.0, 18.0], "not beyond the last step");
    }

    #[test]
    fn step_axis_starts_near_the_first_step_of_the_curve() {
        assert_eq!(steps(7_345.0, 7_400.0, Some(10_000)), [7_000.0, 10_000.0]);
    }
}
