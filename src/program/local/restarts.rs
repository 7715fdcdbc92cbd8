//! Decides whether and when a dead child restarts. This file neither waits nor starts a process.

use std::collections::VecDeque;
use std::time::Duration;

use crate::program::exit_codes::{EXIT_NOT_FINITE, EXIT_USAGE};
use unisono_core::time::Moment;

/// Returns whether a task that has exited with this code would exit with the same code after every
/// restart.
pub(super) fn is_final(code: Option<u8>) -> bool {
    matches!(code, Some(EXIT_USAGE | EXIT_NOT_FINITE))
}

/// The limits of restarts and the pauses before them.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestartLimits {
    /// The maximum number of restarts of one task within `window`.
    pub(super) max_restarts: u32,
    /// The time for which a restart counts towards `max_restarts`.
    pub(super) window: Duration,
    /// The pause before the first restart. Each further restart doubles the pause, until a process
    /// has run for at least `steady_after`.
    pub(super) first_pause: Duration,
    /// The longest pause before a restart.
    pub(super) longest_pause: Duration,
    /// The running time after which a process counts as having started successfully. The pause
    /// after such a process is `first_pause` again.
    pub(super) steady_after: Duration,
}

impl RestartLimits {
    pub(super) fn new(max_restarts: u32) -> Self {
        Self {
            max_restarts,
            window: Duration::from_secs(600),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            steady_after: Duration::from_secs(60),
        }
    }
}

/// The restarts of one task so far.
#[derive(Debug)]
pub(super) struct Restarts {
    limits: RestartLimits,
    /// The times of the restarts within the window.
    recent: VecDeque<Moment>,
    /// The pause before the next restart, unless the next process runs for at least `steady_after`.
    next_pause: Duration,
}

/// The decision about a dead child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The child restarts after the pause. This restart is the child's `nth` restart within the
    /// window.
    Again { pause: Duration, nth: usize },
    /// The child has reached the limit of restarts.
    GivenUp,
}

impl Restarts {
    pub(super) const fn new(limits: RestartLimits) -> Self {
        Self { limits, recent: VecDeque::new(), next_pause: limits.first_pause }
    }

    pub(super) const fn limits(&self) -> &RestartLimits {
        &self.limits
    }

    /// Decides whether a child that was started at `born` and has died at `now` restarts.
    pub(super) fn on_death(&mut self, born: Moment, now: Moment) -> Verdict {
        let limits = self.limits;
        self.recent.retain(|at| now - *at < limits.window);
        if self.recent.len() >= limits.max_restarts as usize {
            return Verdict::GivenUp;
        }
        self.recent.push_back(now);
        if now - born >= limits.steady_after {
            self.next_pause = limits.first_pause;
        }
        let pause = self.next_pause;
        self.next_pause = (pause * 2).min(limits.longest_pause);
        Verdict::Again { pause, nth: self.recent.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: f64) -> Moment {
        Moment::from_origin(Duration::from_secs_f64(secs))
    }

    /// Returns the pauses, in seconds, between processes that run for the times `lives`. The list
    /// ends when the limit of restarts is reached.
    fn pauses(max_restarts: u32, lives: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut restarts = Restarts::new(RestartLimits::new(max_restarts));
        let mut now = 0.0;
        let mut pauses = Vec::new();
        for life in lives {
            match restarts.on_death(at(now), at(now + life)) {
                Verdict::GivenUp => return pauses,
                Verdict::Again { pause, .. } => {
                    now += life + pause.as_secs_f64();
                    pauses.push(pause.as_secs_f64());
                }
            }
        }
        pauses
    }

    #[test]
    fn pauses_before_restarts_double_up_to_a_maximum_until_the_limit_is_reached() {
        let expected = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0];
        assert_eq!(pauses(8, [0.1; 20]), expected);
        assert_eq!(pauses(1, [0.1; 20]), [0.5]);
    }

    #[test]
    fn pauses_before_restarts_are_short_again_after_a_long_run() {
        assert_eq!(pauses(9, [1.0, 1.0, 59.9, 60.0, 1.0]), [0.5, 1.0, 2.0, 0.5, 1.0]);
    }

    #[test]
    fn only_restarts_within_the_window_count() {
        // The limit is 3 restarts within 10 minutes. A death every 4 minutes never reaches the
        // limit, but a death every 3 minutes does.
        assert_eq!(pauses(3, [240.0; 50]).len(), 50);
        assert_eq!(pauses(3, [180.0; 50]).len(), 3);
        let mut restarts = Restarts::new(RestartLimits::new(2));
        let nth = |verdict| match verdict {
            Verdict::Again { nth, .. } => nth,
            Verdict::GivenUp => 0,
        };
        let deaths = [0.0, 599.0, 599.5, 600.0, 601.0, 1199.0];
        assert_eq!(deaths.map(|s| nth(restarts.on_death(at(s), at(s)))), [1, 2, 0, 2, 0, 2]);
    }
}
