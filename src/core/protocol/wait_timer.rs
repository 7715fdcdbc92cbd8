//! Applies rule 9: a task that has waited for `report_after` reports the wait, and reports the wait
//! again whenever the length of the wait has doubled. The task ends the run when the wait reaches
//! `give_up_after`.

use std::time::Duration;

use super::config::Limits;
use super::failure::{Failure, GaveUp};
use super::{Effect, Report};
use crate::ids::TaskId;
use crate::time::Moment;

/// The start of the current wait, and the lengths of the wait at which the task reports the wait
/// and gives up.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitTimer {
    report_after: Duration,
    give_up_after: Duration,
    /// The additional time before the task gives up, if all awaited peers are connected. A
    /// connected peer may itself be waiting, and knows better which task is missing.
    grace: Duration,
    /// The start of the current wait.
    since: Moment,
    /// The length of the wait at the next report.
    next_report: Duration,
    /// The length of the wait at which the task gives up.
    give_up_at: Duration,
}

/// A description of what a task waits for, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    /// The awaited message or event and the tasks that must provide it, such as `"for version 7 of
    /// ps 0, …"`.
    pub(super) what: String,
    /// Whether only peers can end the wait, and all these peers are connected.
    pub(super) all_connected: bool,
}

impl WaitTimer {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            report_after: limits.report_after,
            give_up_after: limits.give_up_after,
            grace: limits.heartbeat_timeout,
            since: Moment::default(),
            next_report: limits.report_after,
            give_up_at: limits.give_up_after,
        }
    }

    /// Starts a new wait at `now`. A node calls this function when the node has made progress.
    pub(super) const fn restart(&mut self, now: Moment) {
        self.since = now;
        self.next_report = self.report_after;
        self.give_up_at = self.give_up_after;
    }

    /// Returns the start of the current wait.
    pub(super) const fn since(&self) -> Moment {
        self.since
    }

    /// Returns the time of the next report or the time of giving up, whichever is earlier.
    pub(super) fn deadline(&self) -> Moment {
        self.since + self.next_report.min(self.give_up_at)
    }

    /// Reports the wait if a report is due.
    ///
    /// # Errors
    /// Returns [`Failure::GaveUp`] if the wait has reached its limit.
    pub(super) fn report_or_give_up(
        &mut self,
        now: Moment,
        task: TaskId,
        awaited: impl FnOnce() -> Awaited,
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let waited = now - self.since;
        // `awaited` builds text from all sessions. Most wakes have nothing to report and need no
        // text.
        if waited < self.next_report.min(self.give_up_at) {
            return Ok(());
        }
        let Awaited { what, all_connected } = awaited();
        if waited >= self.give_up_at {
            // If all peers of this task are connected, one of them knows which task is missing. The
            // grace lets that peer give up first, so that the run ends with the real reason.
            self.give_up_at = self.give_up_after + self.grace;
            if !all_connected || waited >= self.give_up_at {
                return Err(Failure::GaveUp(GaveUp { task, what, waited }));
            }
        }
        if waited >= self.next_report {
            self.next_report = waited * 2;
            out.push(Effect::Report(Report::Waiting { what, waited }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(secs))
    }

    fn timer(give_up_after: Duration) -> WaitTimer {
        WaitTimer::new(&Limits { give_up_after, ..Limits::default() })
    }

    /// Returns the length in seconds of the reported wait, or `None` without a report. If the task
    /// gave up, returns the length of the wait as the error.
    fn check(timer: &mut WaitTimer, secs: u64, all_connected: bool) -> Result<Option<u64>, u64> {
        let mut out = Vec::new();
        let awaited = || Awaited { what: String::new(), all_connected };
        match timer.report_or_give_up(at(secs), TaskId::CHIEF, awaited, &mut out) {
            Ok(()) => Ok(out.first().map(|effect| match effect {
                Effect::Report(Report::Waiting { waited, .. }) => waited.as_secs(),
                other => panic!("{other:?}"),
            })),
            Err(Failure::GaveUp(GaveUp { waited, .. })) => Err(waited.as_secs()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn wait_is_reported_at_the_limit_and_at_each_doubling() {
        let mut timer = timer(Limits::NEVER);
        timer.restart(at(5));
        assert_eq!(check(&mut timer, 14, false), Ok(None));
        assert_eq!(timer.deadline(), at(15));
        assert_eq!(check(&mut timer, 15, false), Ok(Some(10)));
        assert_eq!(check(&mut timer, 16, false), Ok(None));
        assert_eq!(timer.deadline(), at(25));
        assert_eq!(check(&mut timer, 25, false), Ok(Some(20)));
        timer.restart(at(30));
        assert_eq!(timer.deadline(), at(40));
    }

    #[test]
    fn task_gives_up_at_the_limit_and_no_sooner() {
        let mut timer = timer(Duration::from_secs(25));
        assert_eq!(check(&mut timer, 10, false), Ok(Some(10)));
        assert_eq!(timer.deadline(), at(20));
        assert_eq!(check(&mut timer, 21, false), Ok(Some(21)));
        assert_eq!(timer.deadline(), at(25));
        timer.restart(at(24));
        assert_eq!(check(&mut timer, 48, false), Ok(Some(24)));
        assert_eq!(check(&mut timer, 49, false), Err(25));
    }

    #[test]
    fn task_waits_longer_for_connected_peers_so_that_they_can_give_up_first() {
        let mut timer = timer(Duration::from_secs(5));
        assert_eq!(timer.deadline(), at(5));
        assert_eq!(check(&mut timer, 5, true), Ok(None));
        assert_eq!(timer.deadline(), at(10));
        assert_eq!(check(&mut timer, 14, true), Ok(Some(14)));
        assert_eq!(timer.deadline(), at(15));
        assert_eq!(check(&mut timer, 15, true), Err(15));
        timer.restart(at(15));
        assert_eq!(timer.deadline(), at(20));
        assert_eq!(check(&mut timer, 20, true), Ok(None));
        assert_eq!(check(&mut timer, 30, true), Err(15));
    }
}
