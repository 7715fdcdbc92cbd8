//! Describes the current wait of a worker (rule 9), as text for the user and as plain values for
//! metrics.

use super::Worker;
use crate::ids::{Cut, TaskId};
use crate::protocol::wait_timer::Awaited;
use crate::protocol::{PUSH_WINDOW, WaitFor};
use crate::time::Moment;

impl Worker {
    /// Returns the current wait as text.
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
            // The chief writes the final checkpoint, but this worker learns of it from the ps, by a
            // `Finished`.
            _ => {
                let all = self.config.all_ps();
                self.links.awaited(now, "for news of the chief's final checkpoint from", all)
            }
        }
    }

    /// Returns the kind of the current wait. Calls `each_awaited` with each task that this worker
    /// waits for.
    pub(super) fn waits_for(&self, each_awaited: &mut dyn FnMut(TaskId)) -> WaitFor {
        if let Some(what) = self.chief.as_ref().and_then(|chief| chief.waits_for(each_awaited)) {
            return what;
        }
        if let Some(leaving) = &self.leaving {
            leaving.missing().for_each(each_awaited);
            return WaitFor::Goodbye;
        }
        // If the worker waits although slots of the step are left, a window is full, and the worker
        // cannot push.
        if self.work.as_ref().is_some_and(|work| !work.is_complete()) {
            let all = self.config.all_ps().zip(&self.windows);
            all.filter(|(_, window)| !window.has_room()).for_each(|(ps, _)| each_awaited(ps));
            return WaitFor::Link;
        }
        let next = self.next_cut();
        let mut missing = self.versions.missing(next.unwrap_or_default()).map(TaskId::ps);
        match (next, missing.next()) {
            (Some(_), None) => {
                each_awaited(TaskId::CHIEF);
                WaitFor::Checkpoint
            }
            (_, first) => {
                first.into_iter().chain(missing).for_each(each_awaited);
                WaitFor::Version
            }
        }
    }

    /// Returns the generation and the step of the version that this worker needs next. A worker at
    /// the last version needs no later version, so the function then returns the last version.
    fn next_cut(&self) -> Option<Cut> {
        self.cut().map(|cut| if self.config.is_last(cut.step) { cut } else { cut.next() })
    }
}
