//! The failure that ended a run, according to its traces.

use std::time::Duration;

use crate::trace::{EventKind, History};
use unisono_core::ids::TaskId;

/// A reason why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Description of the failure: one sentence.
    pub text: String,
    /// Time of the failure since the start of the run; `None` if no event caused the failure.
    pub at: Option<Duration>,
    /// Task that failed; `None` if the failure belongs to no single task.
    pub task: Option<TaskId>,
}

impl Failure {
    /// Returns the failure that ended a run, if its traces show one.
    ///
    /// A task that fails reports its failure to the other tasks, which then fail with the same
    /// reason. So the earliest failure is the cause.
    pub(crate) fn that_ended(history: &History) -> Option<Self> {
        // A task that failed and was restarted did not end the run.
        let is_last = |life: usize| {
            let task = history.lives[life].task;
            history.lives.get(life + 1).is_none_or(|next| next.task != task)
        };
        // The chief finishes only after the final checkpoint is durable, so a later failure of
        // another task is harmless.
        let chief_finished = history.done(EventKind::Finishes).any(|(event, _)| {
            history.task(event) == TaskId::CHIEF && is_last(history.events[event].life)
        });
        if chief_finished {
            return None;
        }
        let failed = history.done(EventKind::Fails);
        let last_failed = failed.filter(|(event, _)| is_last(history.events[*event].life));
        let (event, entry) = last_failed.min_by_key(|(event, _)| history.events[*event].at)?;
        let (task, at) = (history.task(event), history.events[event].at);
        let why = entry.details.note.as_deref().unwrap_or("the trace gives no reason");
        Some(Self { text: format!("{task} failed: {why}"), at: Some(at), task: Some(task) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Document;
    use crate::trace::marks::{self, Steps};
    use crate::trace::script::header;
    use crate::trace::{Details, Entry, Event, NamedEvent, Run, TracedLife};

    const PS: TaskId = TaskId::ps(0);
    const CHIEF: TaskId = TaskId::CHIEF;
    const WORKER: TaskId = TaskId::worker(1);

    /// Returns an incarnation that starts at 0 ms, and has the given effect at `end` ms.
    fn life(task: TaskId, incarnation: u64, end: u64, effect: EventKind, note: &str) -> TracedLife {
        let what = |kind| NamedEvent { kind, step: None, slot: None };
        let details = Details { note: Some(note.to_owned()), ..Details::default() };
        let event = |at, input, does| Event { at: Duration::from_millis(at), input, does };
        TracedLife {
            header: header(task, incarnation, 3),
            events: vec![
                event(0, Entry::of(what(EventKind::Starts)), Vec::new()),
                event(
                    end,
                    Entry::of(what(EventKind::Wakes)),
                    vec![Entry { what: what(effect), details }],
                ),
            ],
            cut: None,
        }
    }

    fn history(lives: &[(TaskId, u64, u64, EventKind, &str)]) -> History {
        let lives = lives
            .iter()
            .map(|(task, number, end, effect, note)| life(*task, *number, *end, *effect, note));
        History::of(Run { lives: lives.collect() })
    }

    #[test]
    fn first_task_that_failed_for_good_is_the_cause() {
        let failed = history(&[
            (PS, 1, 30, EventKind::Fails, "worker 1 gave up"),
            (CHIEF, 1, 31, EventKind::Fails, "worker 1 gave up"),
            (WORKER, 1, 5, EventKind::Fails, "a restart follows"),
            (WORKER, 2, 20, EventKind::Fails, "no ps answers"),
        ]);
        let failure = Failure::that_ended(&failed).expect("a failure");
        assert_eq!(failure.text, "worker 1 failed: no ps answers");
        assert_eq!((failure.at, failure.task), (Some(Duration::from_millis(20)), Some(WORKER)));
    }

    #[test]
    fn run_whose_chief_finished_did_not_fail() {
        let finished = history(&[
            (PS, 1, 30, EventKind::Finishes, ""),
            (CHIEF, 1, 31, EventKind::Finishes, ""),
            (WORKER, 1, 20, EventKind::Fails, "no ps answers"),
        ]);
        assert_eq!(Failure::that_ended(&finished), None);
        let restarted = history(&[
            (CHIEF, 1, 20, EventKind::Fails, "no ps answers"),
            (CHIEF, 2, 31, EventKind::Stops, ""),
        ]);
        assert_eq!(Failure::that_ended(&restarted), None);
    }

    #[test]
    fn failure_has_one_mark_at_its_time() {
        let failed = history(&[(CHIEF, 1, 31, EventKind::Fails, "no ps answers")]);
        let steps = Steps::of(&failed);
        let found = Failure::that_ended(&failed).expect("a failure");
        let elsewhere =
            Failure { text: "broken".to_owned(), at: Some(Duration::from_millis(7)), task: None };
        let nowhere = Failure { text: "inert".to_owned(), at: None, task: None };
        let document = Document::named("run".to_owned(), false)
            .with_history(&failed)
            .with_failures(&[found, elsewhere, nowhere], &steps);
        let times: Vec<_> = document.failures.iter().map(|failure| failure.at).collect();
        assert_eq!(times, [31_000_000, 7_000_000, -1]);
        // The first failure adds no mark, because the trace already has a mark for it.
        let marks: Vec<_> = document.marks.iter().map(|mark| (&*mark.kind, mark.at)).collect();
        assert_eq!(marks, [(marks::FAILURE, 7_000_000), (marks::FAILURE, 31_000_000)]);
    }
}
