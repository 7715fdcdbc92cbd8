//! The machine's monotonic clock.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

use crate::host::Clock;
use crate::time::Moment;

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
