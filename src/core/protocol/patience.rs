//! Rule 9: whoever waits too long says so, and again whenever the wait has doubled; and gives up
//! when it was told to.

use std::time::Duration;

use super::config::Limits;
use super::failure::{Failure, GaveUp};
use super::{Effect, Report};
use crate::ids::TaskId;
use crate::time::Moment;

/// How long one thing has been waited for, and when to speak of it next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    report_after: Duration,
    give_up_after: Duration,
    /// How much longer to wait for those who are there: they know better who is missing.
    respite: Duration,
    since: Moment,
    /// The wait at which to speak next.
    next: Duration,
    /// The wait at which to give up.
    last: Duration,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    /// Of whom and what, for a person.
    pub(super) what: String,
    /// Whether it is others that have to do something, and a session with each of them is up.
    pub(super) all_are_there: bool,
}

impl Patience {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            report_after: limits.report_after,
            give_up_after: limits.give_up_after,
            respite: limits.heartbeat_timeout,
            since: Moment::default(),
            next: limits.report_after,
            last: limits.give_up_after,
        }
    }

    /// What was waited for has come, or is another thing now.
    pub(super) const fn restart(&mut self, now: Moment) {
        self.since = now;
        self.next = self.report_after;
        self.last = self.give_up_after;
    }

    /// Since when what is waited for now has been.
    pub(super) const fn since(&self) -> Moment {
        self.since
    }

    /// When [`Self::spend`] will be worth asking.
    pub(super) fn deadline(&self) -> Moment {
        self.since + self.next.min(self.last)
    }

    /// Says how long the task has waited, and for what, if it is time to say so.
    ///
    /// # Errors
    /// If the wait has become as long as it may be.
    pub(super) fn spend(
        &mut self,
        now: Moment,
        task: TaskId,
        awaited: impl FnOnce() -> Awaited,
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let waited = now - self.since;
        if waited < self.next.min(self.last) {
            return Ok(());
        }
        let Awaited { what, all_are_there } = awaited();
        if waited >= self.last {
            self.last = self.give_up_after + self.respite;
            if !all_are_there || waited >= self.last {
                return Err(Failure::GaveUp(GaveUp { task, what, waited }));
            }
        }
        if waited >= self.next {
            self.next = waited * 2;
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

    fn patience(give_up_after: Duration) -> Patience {
        Patience::new(&Limits { give_up_after, ..Limits::default() })
    }

    /// The seconds of a wait that are told, or at which it is given up.
    fn spend(patience: &mut Patience, secs: u64, all_are_there: bool) -> Result<Option<u64>, u64> {
        let mut out = Vec::new();
        let awaited = || Awaited { what: String::new(), all_are_there };
        match patience.spend(at(secs), TaskId::CHIEF, awaited, &mut out) {
            Ok(()) => Ok(out.first().map(|effect| match effect {
                Effect::Report(Report::Waiting { waited, .. }) => waited.as_secs(),
                other => panic!("{other:?}"),
            })),
            Err(Failure::GaveUp(GaveUp { waited, .. })) => Err(waited.as_secs()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_speaks_at_the_limit_and_at_each_doubling() {
        let mut patience = patience(Limits::NEVER);
        patience.restart(at(5));
        assert_eq!(spend(&mut patience, 14, false), Ok(None));
        assert_eq!(patience.deadline(), at(15));
        assert_eq!(spend(&mut patience, 15, false), Ok(Some(10)));
        assert_eq!(spend(&mut patience, 16, false), Ok(None));
        assert_eq!(patience.deadline(), at(25));
        assert_eq!(spend(&mut patience, 25, false), Ok(Some(20)));
        patience.restart(at(30));
        assert_eq!(patience.deadline(), at(40));
    }

    #[test]
    fn it_gives_up_at_its_limit_and_no_sooner() {
        let mut patience = patience(Duration::from_secs(25));
        assert_eq!(spend(&mut patience, 10, false), Ok(Some(10)));
        assert_eq!(patience.deadline(), at(20));
        assert_eq!(spend(&mut patience, 21, false), Ok(Some(21)));
        assert_eq!(patience.deadline(), at(25));
        patience.restart(at(24));
        assert_eq!(spend(&mut patience, 48, false), Ok(Some(24)));
        assert_eq!(spend(&mut patience, 49, false), Err(25));
    }

    #[test]
    fn it_gives_those_who_are_there_the_time_to_give_up_themselves() {
        let mut patience = patience(Duration::from_secs(5));
        assert_eq!(patience.deadline(), at(5));
        assert_eq!(spend(&mut patience, 5, true), Ok(None));
        assert_eq!(patience.deadline(), at(10));
        assert_eq!(spend(&mut patience, 14, true), Ok(Some(14)));
        assert_eq!(patience.deadline(), at(15));
        assert_eq!(spend(&mut patience, 15, true), Err(15));
        patience.restart(at(15));
        assert_eq!(patience.deadline(), at(20));
        assert_eq!(spend(&mut patience, 20, true), Ok(None));
        assert_eq!(spend(&mut patience, 30, true), Err(15));
    }
}
