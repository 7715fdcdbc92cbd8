//! Notable events of a run: restarts, lost links, restored states, failures.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::History;
use super::named_event::EventKind;
use unisono_core::ids::{Step, TaskId};

/// A notable event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Begin, since the start of the run.
    pub at: Duration,
    /// End, since the start of the run; `None` for an event without length.
    pub until: Option<Duration>,
    /// Step that the run had reached at the time of the event; `None` before the first version.
    pub step: Option<Step>,
    /// Task of the event; `None` if the event belongs to no single task.
    pub task: Option<TaskId>,
    /// Kind, such as `restart`, `lost-link` or `failure`, or the kind of an injected fault.
    pub kind: String,
    /// Description of the event: one sentence.
    pub text: String,
}

/// Kind of the mark of a failure.
pub const FAILURE: &str = "failure";

/// Returns the marks of a run, ascending by time.
#[must_use]
pub fn marks(history: &History) -> Vec<Mark> {
    let mut marks = Vec::new();
    let steps = Steps::of(history);
    let mark = |at, task, kind: &str, text| {
        let (step, kind) = (steps.at(at), kind.to_owned());
        Mark { at, until: None, step, task: Some(task), kind, text }
    };
    for life in history.lives.iter().filter(|life| life.number > 1) {
        let at = life.begin;
        let text = format!("{} restarted (start {})", life.task, life.number);
        marks.push(mark(at, life.task, "restart", text));
    }
    for (number, event) in history.events.iter().enumerate() {
        let task = history.task(number);
        for done in &event.does {
            let (peer, note) = (done.details.peer, done.details.note.as_deref());
            let of = |peer: Option<TaskId>| peer.map_or_else(String::new, |peer| peer.to_string());
            let why = note.map_or_else(String::new, |note| format!(": {note}"));
            use EventKind as E;
            let (kind, text) = match done.what.kind {
                E::PeerDown if has_left(history, peer, event.at) => continue,
                E::PeerDown => ("lost-link", format!("{task} lost its link to {}{why}", of(peer))),
                E::ShardLost => ("shard-lost", format!("{} lost its shard{why}", of(peer))),
                E::Restores if done.details.generation.is_some_and(|number| number > 1) => {
                    let step = done.what.step.map_or_else(String::new, |step| step.to_string());
                    ("restore", format!("all tasks continue from version {step}{why}"))
                }
                E::TurnedAway => ("turned-away", format!("{task} refused a caller{why}")),
                E::Waits => ("waits", format!("{task} is still waiting{why}")),
                E::Stops => ("stop", format!("{task} was asked to stop")),
                E::Fails => (FAILURE, format!("{task} failed{why}")),
                _ => continue,
            };
            marks.push(mark(event.at, task, kind, text));
        }
        if event.input.what.kind == EventKind::SaveFailed {
            let why = event.input.details.note.as_deref().unwrap_or_default();
            let text = format!("a checkpoint could not be written: {why}");
            marks.push(mark(event.at, task, "save-failed", text));
        }
    }
    marks.sort_by_key(|mark| mark.at);
    marks
}

/// Returns whether a peer had ended normally before the time `at`. A closed link to such a peer is
/// not a fault.
fn has_left(history: &History, peer: Option<TaskId>, at: Duration) -> bool {
    let Some(peer) = peer else { return false };
    let life = history.lives_of(peer).filter(|life| life.begin <= at).last();
    let ends = |event: &super::history::TimedEvent| {
        event
            .does
            .iter()
            .any(|done| matches!(done.what.kind, EventKind::Finishes | EventKind::SendsGoodbye))
    };
    // The last eight events are searched, because links may close after a normal end.
    life.is_some_and(|life| history.events[life.events.clone()].iter().rev().take(8).any(ends))
}

/// The step of the run as a function of time.
#[derive(Debug)]
pub struct Steps(BTreeMap<Duration, Step>);

impl Steps {
    /// Returns the steps of ps 0 over time. If there is no trace of ps 0, returns the steps of the
    /// first traced task.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let ps = history.lives.first().map(|life| life.task);
        let made = |(number, event): (usize, &super::history::TimedEvent)| {
            let what = event.input.what;
            let step = match what.kind {
                EventKind::Updated => what.step?.next(),
                EventKind::ReceivesRestore => what.step?,
                _ => return None,
            };
            (Some(history.task(number)) == ps).then_some((event.at, step))
        };
        Self(history.events.iter().enumerate().filter_map(made).collect())
    }

    /// Returns the step that the run had reached at a time; `None` before the first version.
    #[must_use]
    pub fn at(&self, at: Duration) -> Option<Step> {
        self.0.range(..=at).next_back().map(|(_, step)| *step)
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, ms};
    use super::*;

    #[test]
    fn restart_has_a_mark_with_the_step_of_the_run() {
        let marks = marks(&Script::with_a_restart().history());
        let [mark] = &*marks else { panic!("{marks:?}") };
        assert_eq!((mark.at, mark.step, &*mark.kind), (ms(80), Some(Step(1)), "restart"));
        assert_eq!(mark.text, "worker 1 restarted (start 2)");
    }

    #[test]
    fn no_event_is_marked_in_a_run_without_faults() {
        assert_eq!(marks(&Script::two_steps().history()), []);
    }
}
