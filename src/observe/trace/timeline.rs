//! The activity of each task at every moment, as lanes of spans that never overlap.

use std::time::Duration;

use super::history::{History, Life};
use super::named_event::{EventKind, NamedEvent};
use unisono_core::ids::{Slot, Step, TaskId};

/// The activity of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// A worker computes a gradient.
    Compute,
    /// A ps computes an update.
    Apply,
    /// The task computes nothing, and at least one tensor that it has sent is still in flight.
    Send,
    /// The task computes nothing, and no tensor that it has sent is in flight.
    Wait,
    /// The chief reads or writes a checkpoint. [`Lane::files`] contains this activity, because it
    /// runs at the same time as other activities.
    Save,
    /// A new incarnation connects to its peers and receives its first version.
    Join,
    /// The task is not running: one incarnation ended, and the next one has not started.
    Down,
}

impl State {
    /// All activities, in order.
    pub const ALL: [Self; 7] =
        [Self::Compute, Self::Apply, Self::Send, Self::Wait, Self::Save, Self::Join, Self::Down];

    /// Returns the name of the activity.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Apply => "apply",
            Self::Send => "send",
            Self::Wait => "wait",
            Self::Save => "save",
            Self::Join => "join",
            Self::Down => "down",
        }
    }
}

/// A period during which a task has one activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Activity of the task.
    pub state: State,
    /// Begin, since the start of the run.
    pub begin: Duration,
    /// End, since the start of the run. The end is not before the begin.
    pub end: Duration,
    /// Step of the activity, if it has one.
    pub step: Option<Step>,
    /// Slot of the activity, if it has one.
    pub slot: Option<Slot>,
    /// Receiver of the message in flight, or the task whose message ended the wait.
    pub peer: Option<TaskId>,
}

/// The activities of a task over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Task of the lane.
    pub task: TaskId,
    /// Spans from the start of the first incarnation to the end of the last incarnation, without
    /// gaps.
    pub work: Vec<Span>,
    /// Reads and writes of checkpoints, in order, with gaps.
    pub files: Vec<Span>,
}

/// Returns the lanes of all traced tasks.
#[must_use]
pub fn lanes(history: &History) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    for (life, sent) in history.lives.iter().zip(flights(history)) {
        if lanes.last().is_none_or(|lane| lane.task != life.task) {
            lanes.push(Lane { task: life.task, work: Vec::new(), files: Vec::new() });
        }
        let lane = lanes.last_mut().expect("the lane was pushed");
        // After a correction of clocks, an incarnation may seem to start before the previous
        // incarnation ended.
        let begin = match lane.work.last().map(|last| last.end) {
            Some(end) => {
                lane.push(Span::plain(State::Down, end, life.begin.max(end)));
                life.begin.max(end)
            }
            None => life.begin,
        };
        lane.push_life(history, life, begin, sent);
    }
    lanes
}

impl Span {
    const fn plain(state: State, begin: Duration, end: Duration) -> Self {
        Self { state, begin, end, step: None, slot: None, peer: None }
    }
}

impl Lane {
    /// Appends a span, unless it is empty.
    fn push(&mut self, span: Span) {
        if span.begin < span.end {
            self.work.push(span);
        }
    }

    fn push_life(&mut self, history: &History, life: &Life, begin: Duration, sent: Vec<Flight>) {
        let mut sent = InFlight { flights: sent, next: 0, longest: None };
        // Before its first job, an incarnation is joining the run.
        let (mut at, mut quiet) = (begin, State::Join);
        let unfinished = life.unfinished.map(|begun| unfinished(history, life, begun));
        for JobSpan { span, begun } in jobs(history, life, false).chain(unfinished) {
            let job = Span { begin: span.begin.max(at), end: span.end.max(at), ..span };
            // The message that started the job also ended the preceding wait.
            let ended_by = history.events[begun].input.details.peer;
            self.push_idle(at, job.begin, (quiet, ended_by), &mut sent);
            self.push(job);
            (at, quiet) = (job.end, State::Wait);
        }
        self.push_idle(at, life.end.max(at), (quiet, None), &mut sent);
        let mut at = begin;
        for JobSpan { span, .. } in jobs(history, life, true) {
            let span = Span { begin: span.begin.max(at), end: span.end.max(at), ..span };
            at = span.end;
            self.files.push(span);
        }
    }

    /// Fills the time between two jobs with spans. During each span, either a message is in flight,
    /// or the task waits or joins the run.
    fn push_idle(
        &mut self,
        mut at: Duration,
        until: Duration,
        (quiet, ended_by): (State, Option<TaskId>),
        sent: &mut InFlight,
    ) {
        while at < until {
            let (in_flight, next) = sent.at(at);
            let span = match in_flight.filter(|_| quiet == State::Wait) {
                Some(Flight { end, step, slot, to, .. }) => {
                    let end = end.min(until);
                    Span { state: State::Send, begin: at, end, step, slot, peer: Some(to) }
                }
                None => {
                    let end = next.map_or(until, |next| next.min(until));
                    Span { peer: ended_by, ..Span::plain(quiet, at, end) }
                }
            };
            at = span.end;
            match self.work.last_mut() {
                // A quiet span ends when a message is sent. If that message is not shown, because
                // it took no time or the task is still joining, the next quiet span extends the
                // last span.
                Some(last) if last.state == quiet && span.state == quiet => last.end = at,
                _ => self.push(span),
            }
        }
    }
}

/// A message with tensors in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    begin: Duration,
    end: Duration,
    to: TaskId,
    step: Option<Step>,
    slot: Option<Slot>,
}

/// Finds the messages of an incarnation that are in flight, for ascending times.
struct InFlight {
    /// Messages, ascending by the time of sending.
    flights: Vec<Flight>,
    next: usize,
    /// The message in flight that arrives last.
    longest: Option<Flight>,
}

impl InFlight {
    /// Returns the message that is in flight at a time, and the send time of the next message.
    /// Times must not decrease from call to call.
    fn at(&mut self, at: Duration) -> (Option<Flight>, Option<Duration>) {
        while let Some(flight) = self.flights.get(self.next).filter(|flight| flight.begin <= at) {
            if self.longest.is_none_or(|longest| longest.end < flight.end) {
                self.longest = Some(*flight);
            }
            self.next += 1;
        }
        let next = self.flights.get(self.next).map(|flight| flight.begin);
        (self.longest.filter(|flight| flight.end > at), next)
    }
}

/// Returns the messages with tensors of each incarnation. Other messages are too short to show.
fn flights(history: &History) -> Vec<Vec<Flight>> {
    let mut flights = vec![Vec::new(); history.lives.len()];
    for message in &history.messages {
        let (sent, received) = (&history.events[message.sent], &history.events[message.received]);
        let what = &sent.does[message.does];
        if what.details.bytes.is_some() {
            flights[sent.life].push(Flight {
                begin: sent.at,
                end: received.at.max(sent.at),
                to: history.task(message.received),
                step: what.what.step,
                slot: what.what.slot,
            });
        }
    }
    for of_life in &mut flights {
        of_life.sort_by_key(|flight| flight.begin);
    }
    flights
}

struct JobSpan {
    span: Span,
    /// Index of the event that started the job.
    begun: usize,
}

impl JobSpan {
    fn new(state: State, what: NamedEvent, times: (Duration, Duration), begun: usize) -> Self {
        let NamedEvent { step, slot, .. } = what;
        Self { span: Span { step, slot, ..Span::plain(state, times.0, times.1) }, begun }
    }
}

/// Returns the activity of the job that an event starts or completes.
pub(super) const fn state_of(kind: EventKind) -> Option<State> {
    use EventKind as E;
    match kind {
        E::Computes | E::Computed => Some(State::Compute),
        E::Updates | E::Updated => Some(State::Apply),
        E::Saved | E::SaveFailed | E::Read | E::ReadFailed => Some(State::Save),
        _ => None,
    }
}

/// Returns the completed jobs of an incarnation, in order. If `is_file` is true, returns the reads
/// and writes of checkpoints. Otherwise, returns all other jobs.
fn jobs(history: &History, life: &Life, is_file: bool) -> impl Iterator<Item = JobSpan> {
    life.events.clone().filter_map(move |number| {
        let event = &history.events[number];
        let (what, begun) = (event.input.what, event.cause?);
        let state = state_of(what.kind).filter(|state| (*state == State::Save) == is_file)?;
        Some(JobSpan::new(state, what, (history.events[begun].at, event.at), begun))
    })
}

/// Returns the job that was running when the incarnation ended.
fn unfinished(history: &History, life: &Life, begun: usize) -> JobSpan {
    let event = &history.events[begun];
    let job = event.does.iter().find_map(|done| Some((state_of(done.what.kind)?, done.what)));
    let (state, what) = job.expect("a job was begun at this event");
    JobSpan::new(state, what, (event.at, life.end), begun)
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;

    fn text(spans: &[Span]) -> String {
        let text = |span: &Span| {
            let step = span.step.map_or_else(String::new, |step| format!(" {step}"));
            let peer = span.peer.map_or_else(String::new, |peer| format!(", {peer}"));
            let (begin, end) = (span.begin.as_millis(), span.end.as_millis());
            format!("{begin}-{end} {}{step}{peer}", span.state.name())
        };
        spans.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn lane_shows_the_activity_of_a_task_over_time() {
        let lanes = lanes(&Script::two_steps().history());
        let [ps, fast, slow] = &*lanes else { panic!("{lanes:?}") };
        insta::assert_snapshot!(text(&ps.work), @"
        0-38 join, worker 1
        38-43 apply 0
        43-45 send 1, worker 0
        45-95 wait, worker 0
        95-100 apply 1
        ");
        insta::assert_snapshot!(text(&fast.work), @"
        0-6 join, ps 0
        6-16 compute 0
        16-18 send 0, ps 0
        18-45 wait, ps 0
        45-55 compute 1
        55-95 send 1, ps 0
        95-101 wait
        ");
        insta::assert_snapshot!(text(&slow.work), @"
        0-6 join, ps 0
        6-36 compute 0
        36-38 send 0, ps 0
        38-45 wait, ps 0
        45-75 compute 1
        ");
        insta::assert_snapshot!(text(&fast.files), @"0-2 save");
    }

    #[test]
    fn restarted_task_is_shown_as_down_between_its_incarnations() {
        let lanes = lanes(&Script::with_a_restart().history());
        let slow = lanes.last().unwrap();
        insta::assert_snapshot!(text(&slow.work), @"
        0-6 join, ps 0
        6-36 compute 0
        36-38 send 0, ps 0
        38-45 wait, ps 0
        45-60 compute 1
        60-80 down
        80-85 join, ps 0
        85-115 compute 1
        ");
    }

    #[test]
    fn spans_of_a_lane_have_no_gaps_and_cover_the_lifetime() {
        for script in [Script::two_steps(), Script::with_a_restart()] {
            let history = script.history();
            for lane in lanes(&history) {
                check(&history, &lane);
            }
        }
    }

    /// Checks the properties that every lane must have.
    fn check(history: &History, lane: &Lane) {
        let lives: Vec<_> = history.lives_of(lane.task).collect();
        let (first, last) = (lives[0], lives[lives.len() - 1]);
        assert_eq!(lane.work[0].begin, first.begin);
        assert_eq!(lane.work[lane.work.len() - 1].end, last.end);
        assert!(lane.work.iter().all(|span| span.begin < span.end));
        assert!(lane.work.windows(2).all(|two| two[0].end == two[1].begin));
        assert!(lane.files.windows(2).all(|two| two[0].end <= two[1].begin));
        let sum: Duration = lane.work.iter().map(|span| span.end - span.begin).sum();
        assert_eq!(sum, last.end - first.begin);
    }
}
