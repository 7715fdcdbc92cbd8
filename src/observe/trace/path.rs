//! The critical path: what the run would have been shorter by, had it been faster.
//!
//! From the last thing that happened it goes back, each time to what that had waited for: from a
//! message that came to where it was sent, from a result to where its job was begun, from the first
//! thing of a later life to the last of the life before. So every moment of the run is somebody's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{History, TimedEvent};
use super::named_event::EventKind;
use super::timeline::State;
use unisono_core::ids::{Job, Step, TaskId};

/// A part of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// For whom the run waited.
    pub task: TaskId,
    /// What it was at: never [`State::Apply`] of a worker, nor [`State::Compute`] of a ps.
    pub state: State,
    /// From when on,
    pub begin: Duration,
    /// until when.
    pub end: Duration,
    /// Of which step, if of one.
    pub step: Option<Step>,
}

/// The path, from the beginning of the run to its end, with no gap.
#[must_use]
pub fn critical_path(history: &History) -> Vec<Segment> {
    let mut path = Vec::new();
    let Some(mut number) = last_event(history) else { return path };
    let mut until = history.events[number].at;
    // Only a trace that is no trace has causes in a circle.
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
            // A moment came; or a link, of which nothing is known.
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

/// The last end of a life that was no accident, or else the last event of all.
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

/// The beginning of the life that answered a call, if the caller was there before: then it was not
/// the call that had to be waited for, however often it was made.
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

/// What a task was at when something happened to it that nothing led to.
fn meanwhile(history: &History, event: usize) -> State {
    match (history.events[event].is_busy, history.task(event).job) {
        (false, _) => State::Wait,
        (true, Job::Worker) => State::Compute,
        (true, Job::Ps) => State::Apply,
    }
}

/// What an event waited for, and whose that was, when this led to it.
fn waited_for(history: &History, event: usize, cause: usize) -> (State, TaskId) {
    use EventKind as E;
    let state = match history.events[event].input.what.kind {
        E::Computed => State::Compute,
        E::Updated => State::Apply,
        E::Saved | E::SaveFailed | E::Read | E::ReadFailed => State::Save,
        E::Connected | E::ConnectFailed => State::Join,
        _ => State::Send,
    };
    (state, history.task(cause))
}

/// How long the run waited for each task, by what it was at.
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

    /// Milliseconds of each task and state.
    fn totals(path: &[Segment]) -> String {
        let of_task = |(task, states): (TaskId, BTreeMap<State, Duration>)| {
            let each =
                states.iter().map(|(it, time)| format!("{} {}", it.name(), time.as_millis()));
            format!("{task}: {}", each.collect::<Vec<_>>().join(", "))
        };
        gated(path).into_iter().map(of_task).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn the_path_goes_through_whomever_everyone_waited_for() {
        let path = critical_path(&Script::two_steps().history());
        // In step 0 the slow worker's gradient came last; in step 1 the fast one's push.
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
    fn the_time_in_which_a_task_was_not_there_is_its_own() {
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
    fn the_path_is_as_long_as_the_run() {
        for script in [Script::two_steps(), Script::with_a_restart()] {
            let history = script.history();
            let path = critical_path(&history);
            assert_eq!(path[0].begin, Duration::ZERO);
            assert!(path.windows(2).all(|two| two[0].end == two[1].begin));
            assert_eq!(path[path.len() - 1].end, history.length);
        }
    }
}
