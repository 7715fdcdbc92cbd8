//! The critical path: the chain of jobs, messages and waits that determined the length of the run.
//!
//! The path is found backwards from the last event, by going from each event to its cause: from a
//! received message to the event that sent the message, from a result to the start of its job, and
//! from the first event of an incarnation to the last event of the previous incarnation. So every
//! moment of the run belongs to exactly one task.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{History, TimedEvent};
use super::named_event::EventKind;
use super::timeline::{State, state_of};
use unisono_core::ids::{Job, Step, TaskId};

/// A part of the critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Task for which the run waited.
    pub task: TaskId,
    /// Activity of the task. A worker never has [`State::Apply`], and a ps never has
    /// [`State::Compute`].
    pub state: State,
    /// Begin, since the start of the run.
    pub begin: Duration,
    /// End, since the start of the run.
    pub end: Duration,
    /// Step of the activity, if it has one.
    pub step: Option<Step>,
}

/// Returns the critical path from the start of the run to its end, without gaps.
#[must_use]
pub fn critical_path(history: &History) -> Vec<Segment> {
    let mut path = Vec::new();
    let Some(mut number) = last_event(history) else { return path };
    let mut until = history.events[number].at;
    // The number of rounds is limited, because the causes in a damaged trace may form a cycle.
    for _ in 0..=history.events.len() {
        let event = &history.events[number];
        let step = event.input.what.step;
        let life = &history.lives[event.life];
        let is_first = number == life.events.start;
        let (state, before, task) = match called_late(history, number).or(event.cause) {
            Some(cause) => {
                let (state, task) = waited_for(history, number, cause);
                (state, Some(cause), task)
            }
            // The event has no known cause: for example, it is a timer or an accepted link. The
            // path continues with the previous event of the task.
            None if !is_first => (meanwhile(history, number), Some(number - 1), life.task),
            None => {
                let earlier = history.lives_of(life.task).take_while(|it| it.number < life.number);
                let earlier = earlier.filter(|life| !life.events.is_empty()).last();
                let state = if earlier.is_some() { State::Down } else { State::Join };
                (state, earlier.map(|life| life.events.end - 1), life.task)
            }
        };
        let begin = before.map_or(Duration::ZERO, |before| history.events[before].at).min(until);
        if begin < until {
            path.push(Segment { task, state, begin, end: until, step });
        }
        until = begin;
        match before {
            Some(before) => number = before,
            None => break,
        }
    }
    path.reverse();
    path
}

/// Returns the last event at which a task finished, stopped or failed. If there is no such event,
/// returns the last event of the run.
fn last_event(history: &History) -> Option<usize> {
    let ends = |event: &usize| {
        history.events[*event].does.iter().any(|done| {
            matches!(done.what.kind, EventKind::Finishes | EventKind::Stops | EventKind::Fails)
        })
    };
    let at = |event: &usize| history.events[*event].at;
    let all = 0..history.events.len();
    all.clone().filter(ends).max_by_key(at).or_else(|| all.max_by_key(at))
}

/// If the called task started later than its caller, returns the first event of the called task's
/// incarnation. The caller waited for this start, and not for its own repeated calls.
fn called_late(history: &History, event: usize) -> Option<usize> {
    let TimedEvent { at, life, input, .. } = &history.events[event];
    if input.what.kind != EventKind::Connected {
        return None;
    }
    let (caller, peer) = (&history.lives[*life], input.details.peer?);
    let called = history.lives_of(peer).filter(|life| life.begin <= *at).last()?;
    let again = |event: &TimedEvent| {
        event.at >= called.begin
            && (event.input.what.kind, event.input.details.peer)
                == (EventKind::Connected, Some(peer))
    };
    let is_first = !history.events[caller.events.start..event].iter().any(again);
    (is_first && caller.begin < called.begin).then_some(called.events.start)
}

/// Returns the activity of a task before an event that has no cause.
fn meanwhile(history: &History, event: usize) -> State {
    match (history.events[event].is_busy, history.task(event).job) {
        (false, _) => State::Wait,
        (true, Job::Worker) => State::Compute,
        (true, Job::Ps) => State::Apply,
    }
}

/// Returns the activity for which an event waited, and the task that performed the activity.
/// `cause` is the cause of the event.
fn waited_for(history: &History, event: usize, cause: usize) -> (State, TaskId) {
    let kind = history.events[event].input.what.kind;
    let state = state_of(kind).unwrap_or(match kind {
        EventKind::Connected | EventKind::ConnectFailed => State::Join,
        _ => State::Send,
    });
    (state, history.task(cause))
}

/// Returns how long the run waited for each task, by activity of the task.
#[must_use]
pub fn gated(path: &[Segment]) -> BTreeMap<TaskId, BTreeMap<State, Duration>> {
    let mut gated: BTreeMap<TaskId, BTreeMap<State, Duration>> = BTreeMap::new();
    for Segment { task, state, begin, end, .. } in path {
        *gated.entry(*task).or_default().entry(*state).or_default() += *end - *begin;
    }
    gated
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;

    fn text(path: &[Segment]) -> String {
        let text = |it: &Segment| {
            let (begin, end) = (it.begin.as_millis(), it.end.as_millis());
            format!("{begin}-{end} {} {}", it.task, it.state.name())
        };
        path.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    /// Returns the number of milliseconds of each task and activity, as text.
    fn totals(path: &[Segment]) -> String {
        let of_task = |(task, states): (TaskId, BTreeMap<State, Duration>)| {
            let each =
                states.iter().map(|(it, time)| format!("{} {}", it.name(), time.as_millis()));
            format!("{task}: {}", each.collect::<Vec<_>>().join(", "))
        };
        gated(path).into_iter().map(of_task).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn critical_path_contains_the_task_that_all_others_waited_for() {
        let path = critical_path(&Script::two_steps().history());
        // In step 0, the slow worker's gradient arrived last. In step 1, the fast worker's push
        // arrived last.
        assert_eq!(
            text(&path),
            "0-2 worker 0 save\n2-4 worker 0 send\n4-6 ps 0 send\n6-36 worker 1 compute\n\
             36-38 worker 1 send\n38-43 ps 0 apply\n43-45 ps 0 send\n45-55 worker 0 compute\n\
             55-95 worker 0 send\n95-100 ps 0 apply\n100-101 ps 0 send"
        );
        assert_eq!(
            totals(&path),
            "ps 0: apply 10, send 5; worker 0: compute 10, send 42, save 2; \
             worker 1: compute 30, send 2"
        );
    }

    #[test]
    fn critical_path_counts_the_downtime_of_a_task_for_that_task() {
        let path = critical_path(&Script::with_a_restart().history());
        assert_eq!(
            text(&path),
            "0-2 worker 0 save\n2-4 worker 0 send\n4-6 ps 0 send\n6-36 worker 1 compute\n\
             36-38 worker 1 send\n38-43 ps 0 apply\n43-45 ps 0 send\n45-60 worker 1 compute\n\
             60-80 worker 1 down\n80-81 worker 1 send\n81-85 ps 0 send\n85-115 worker 1 compute\n\
             115-135 worker 1 send\n135-140 ps 0 apply\n140-141 ps 0 send"
        );
    }

    #[test]
    fn critical_path_is_as_long_as_the_run() {
        for script in [Script::two_steps(), Script::with_a_restart()] {
            let history = script.history();
            let path = critical_path(&history);
            assert_eq!(path[0].begin, Duration::ZERO);
            assert!(path.windows(2).all(|two| two[0].end == two[1].begin));
            assert_eq!(path[path.len() - 1].end, history.length);
        }
    }
}
