//! Rule 9: whoever waits too long says so, and again whenever the wait has doubled.

use std::time::Duration;

use crate::planted::{Bug, is_planted};
use crate::time::Moment;

/// How long one thing has been waited for, and when to speak of it next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    report_after: Duration,
    since: Moment,
    /// The wait at which to speak next.
    next: Duration,
}

impl Patience {
    pub(super) const fn new(report_after: Duration, now: Moment) -> Self {
        Self { report_after, since: now, next: report_after }
    }

    /// What was waited for has come, or is another thing now.
    pub(super) const fn restart(&mut self, now: Moment) {
        *self = Self::new(self.report_after, now);
    }

    /// When [`Self::exhausted`] will be worth asking.
    pub(super) fn deadline(&self) -> Moment {
        self.since + self.next
    }

    /// How long the wait is, if it is time to say so.
    pub(super) fn exhausted(&mut self, now: Moment) -> Option<Duration> {
        let waited = now - self.since;
        let exhausted = (waited >= self.next).then(|| {
            self.next = waited.max(self.next) * 2;
            waited
        });
        exhausted.filter(|_| !is_planted(Bug::WaitWithoutTelling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_at_the_limit_and_at_each_doubling() {
        let at = |secs| Moment::from_origin(Duration::from_secs(secs));
        let mut patience = Patience::new(Duration::from_secs(10), at(5));
        assert_eq!(patience.exhausted(at(14)), None);
        assert_eq!(patience.deadline(), at(15));
        assert_eq!(patience.exhausted(at(15)), Some(Duration::from_secs(10)));
        assert_eq!(patience.exhausted(at(16)), None);
        assert_eq!(patience.deadline(), at(25));
        assert_eq!(patience.exhausted(at(25)), Some(Duration::from_secs(20)));
        patience.restart(at(30));
        assert_eq!(patience.deadline(), at(40));
    }
}
