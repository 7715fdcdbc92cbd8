//! A task's clock, which may go too fast or too slowly, and jump ahead; it never goes back.

use std::time::Duration;

use crate::scenario::nanos;

const MILLION: i128 = 1_000_000;

/// What a clock shows, as a function of the time that has passed in the universe.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SkewedClock {
    /// Since when it goes as it does.
    since: Duration,
    /// What it showed then.
    showed: Duration,
    /// Parts per million that it goes too fast.
    ppm: i32,
}

impl SkewedClock {
    /// What it shows at `now`.
    pub(crate) fn at(&self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.since);
        if self.ppm == 0 {
            return self.showed + passed;
        }
        let passed = i128::from(nanos(passed)) * (MILLION + i128::from(self.ppm)) / MILLION;
        self.showed + Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// The first moment of the universe at which it shows `moment`, or more.
    pub(crate) fn when(&self, moment: Duration) -> Duration {
        let ahead = moment.saturating_sub(self.showed);
        if self.ppm == 0 {
            return self.since.saturating_add(ahead);
        }
        let rate = MILLION + i128::from(self.ppm);
        let passed = (i128::from(nanos(ahead)) * MILLION + rate - 1) / rate;
        self.since.saturating_add(Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// From `now` on it goes `ppm` too fast, and it jumps ahead.
    pub(crate) fn change(&mut self, now: Duration, ppm: i32, jump: Duration) {
        // A clock that stood still, or went back, would be no clock.
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
    fn a_skewed_clock_gains_its_parts_per_million_and_its_jumps() {
        let mut clock = SkewedClock::default();
        assert_eq!(clock.at(s(5)), s(5));
        clock.change(s(10), 100_000, s(3));
        assert_eq!(clock.at(s(10)), s(13));
        assert_eq!(clock.at(s(20)), s(24));
        clock.change(s(20), -500_000, Duration::ZERO);
        assert_eq!(clock.at(s(30)), s(29));
    }

    #[test]
    fn the_moment_at_which_it_shows_something_is_the_first_one() {
        let mut clock = SkewedClock::default();
        clock.change(s(1), -333_333, s(1));
        for moment in [s(3), Duration::from_nanos(2_000_000_007), s(100)] {
            let when = clock.when(moment);
            assert!(clock.at(when) >= moment);
            assert!(clock.at(when - Duration::from_nanos(1)) < moment);
        }
    }
}
