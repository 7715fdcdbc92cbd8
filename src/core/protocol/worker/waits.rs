//! Rule 9: what a worker waits for, for a person and for who counts.

use super::Worker;
use crate::ids::{Cut, TaskId};
use crate::protocol::wait_timer::Awaited;
use crate::protocol::{PUSH_WINDOW, WaitFor};
use crate::time::Moment;

impl Worker {
    /// Rule 9: what has not come, and whose it is.
    pub(super) fn awaited(&self, now: Moment) -> Awaited {
        if let Some(awaited) = self.chief.as_ref().and_then(|chief| chief.awaited(now, &self.links))
        {
            return awaited;
        }
        if let Some(leaving) = &self.leaving {
            return leaving.awaited(now, &self.links);
        }
        let mut missing = Vec::new();
        match (self.waits_for(&mut |task| missing.push(task)), self.next_cut()) {
            (WaitFor::Version, Some(next)) => {
                self.links.awaited(now, format_args!("for version {} of", next.step), missing)
            }
            (WaitFor::Version, None) => self.links.awaited(now, "for a first version of", missing),
            (WaitFor::Link, _) => {
                let what = format_args!("for its last {PUSH_WINDOW} gradients to reach");
                self.links.awaited(now, what, missing)
            }
            // It is the chief's, and the ps tell of it.
            _ => {
                let all = self.config.all_ps();
                self.links.awaited(now, "for the chief's final checkpoint, to be told of by", all)
            }
        }
    }

    /// The same for who counts: what has not come, and `of` whom.
    pub(super) fn waits_for(&self, of: &mut dyn FnMut(TaskId)) -> WaitFor {
        if let Some(what) = self.chief.as_ref().and_then(|chief| chief.waits_for(of)) {
            return what;
        }
        if let Some(leaving) = &self.leaving {
            leaving.missing().for_each(of);
            return WaitFor::Goodbye;
        }
        if self.work.as_ref().is_some_and(|work| !work.is_complete()) {
            let all = self.config.all_ps().zip(&self.windows);
            all.filter(|(_, window)| !window.has_room()).for_each(|(ps, _)| of(ps));
            return WaitFor::Link;
        }
        let next = self.next_cut();
        let mut missing = self.versions.missing(next.unwrap_or_default()).map(TaskId::ps);
        match (next, missing.next()) {
            (Some(_), None) => {
                of(TaskId::CHIEF);
                WaitFor::Checkpoint
            }
            (_, first) => {
                first.into_iter().chain(missing).for_each(of);
                WaitFor::Version
            }
        }
    }

    /// The cut to work at next.
    fn next_cut(&self) -> Option<Cut> {
        self.cut().map(|cut| if self.config.is_last(cut.step) { cut } else { cut.next() })
    }
}
