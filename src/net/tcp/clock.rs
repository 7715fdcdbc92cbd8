//! The machine's clocks: the monotonic clock and the wall clock.

use std::future::pending;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use unisono_core::host::Clock;
use unisono_core::time::Moment;

/// A monotonic clock that is zero at the moment of its construction.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    origin: Instant,
}

impl RealClock {
    /// Returns a clock that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where production reads its clock")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for RealClock {
    fn now(&self) -> Moment {
        Moment::from_origin(self.origin.elapsed())
    }

    async fn sleep_until(&self, moment: Moment) {
        match self.origin.checked_add(moment.since_origin()) {
            Some(instant) => sleep_until(instant).await,
            // The system's type for instants cannot express a moment that is so late.
            None => pending().await,
        }
    }
}

/// Returns the time since 1970 by the wall clock. Returns zero if the clock is set to a time before
/// 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where production reads its clock")]
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
