//! The machine's clocks: the monotonic one, and the one on the wall.

use std::future::pending;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use unisono_core::host::Clock;
use unisono_core::time::Moment;

/// A clock whose origin is its construction.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    origin: Instant,
}

impl RealClock {
    /// A clock that starts now.
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
            // Later than any instant there is.
            None => pending().await,
        }
    }
}

/// What the clock on the wall says, since 1970; nothing if it is set to before.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where production reads its clock")]
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
