//! The monotonic clock of a task. A fault makes the clock fast or slow, or lets it jump ahead. The
//! clock never goes back.

use std::time::Duration;

use crate::scenario::nanos;

const MILLION: i128 = 1_000_000;

/// A clock as a linear function of virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SkewedClock {
    /// The virtual time of the last call of [`Self::change`].
    since: Duration,
    /// The time that the clock showed at virtual time `since`.
    showed: Duration,
    /// The error of the clock's rate in parts per million. A positive error makes the clock fast.
    ppm: i32,
}

impl SkewedClock {
    /// Returns the time that the clock shows at virtual time `now`.
    pub(crate) fn at(&self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.since);
        if self.ppm == 0 {
            return self.showed + passed;
        }
        let passed = i128::from(nanos(passed)) * (MILLION + i128::from(self.ppm)) / MILLION;
        self.showed + Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Returns the first virtual time at which the clock shows at least `moment`. The result is
    /// rounded up: a task that wakes a nanosecond early would find that its deadline has not come.
    pub(crate) fn when(&self, moment: Duration) -> Duration {
        let ahead = moment.saturating_sub(self.showed);
        if self.ppm == 0 {
            return self.since.saturating_add(ahead);
        }
        let rate = MILLION + i128::from(self.ppm);
        let passed = (i128::from(nanos(ahead)) * MILLION + rate - 1) / rate;
        self.since.saturating_add(Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// Sets the error of the clock's rate from virtual time `now` on, and moves the clock ahead by
    /// `jump`.
    pub(crate) fn change(&mut self, now: Duration, ppm: i32, jump: Duration) {
        // The rate must be above −1,000,000 ppm, where the clock would stand still and `when` would
        // divide by zero.
        let ppm = ppm.max(1 - MILLION as i32);
        *self = Self { since: now, showed: self.at(now) + jump, ppm };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn skewed_clock_gains_its_parts_per_million_and_its_jumps() {
        let mut clock = SkewedClock::default();
        assert_eq!(clock.at(s(5)), s(5));
        clock.change(s(10), 100_000, s(3));
        assert_eq!(clock.at(s(10)), s(13));
        assert_eq!(clock.at(s(20)), s(24));
        clock.change(s(20), -500_000, Duration::ZERO);
        assert_eq!(clock.at(s(30)), s(29));
    }

    #[test]
    fn time_of_a_moment_is_the_first_at_which_the_clock_shows_the_moment() {
        let mut clock = SkewedClock::default();
        clock.change(s(1), -333_333, s(1));
        for moment in [s(3), Duration::from_nanos(2_000_000_007), s(100)] {
            let when = clock.when(moment);
            assert!(clock.at(when) >= moment);
            assert!(clock.at(when - Duration::from_nanos(1)) < moment);
        }
    }
}
