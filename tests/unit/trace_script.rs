//! Hand-made runs for tests: a ps, a fast worker and a slow worker. Times are in milliseconds.

use std::time::Duration;

use EventKind as E;

use super::{Details, Entry, Event, EventKind, History, LifeHeader, NamedEvent, Run, TracedLife};
use unisono_core::ids::{Incarnation, LinkId, Slot, Step, TaskId};

pub(super) const fn ms(at: u64) -> Duration {
    Duration::from_millis(at)
}

/// A run under construction. Incarnations are identified by their index, and events may be added in
/// any order of time.
pub(super) struct Script(pub(super) Run);

const PS: usize = 0;
const FAST: usize = 1;
const SLOW: usize = 2;
const SLOW_AGAIN: usize = 3;

/// Returns the header of an incarnation in a run of one ps and two workers.
pub(crate) fn header(task: TaskId, incarnation: u64, training_steps: u64) -> LifeHeader {
    LifeHeader {
        format: 1,
        task,
        incarnation: Incarnation(incarnation),
        origin: Duration::ZERO,
        n_ps: 1,
        replicas_to_aggregate: 2,
        total_num_replicas: 2,
        training_steps: Step(training_steps),
    }
}

impl Script {
    /// Returns a run of one ps and two workers. Worker 0 is the chief, and the fast worker. The run
    /// ends at 101.
    ///
    /// The chief reads until 2, and both workers have version 0 at 6. In step 0, the fast worker
    /// computes for 10 and the slow worker for 30; messages take 2 and the update takes 5. In step
    /// 1, the fast worker computes for 10 and its push takes 40; the slow worker computes for 30.
    pub(super) fn two_steps() -> Self {
        let mut script = Self::first_step();
        script.compute(SLOW, (45, 75), (1, 1));
        script.message((SLOW, 75), (PS, 77), E::SendsPush, Some((1, 1)));
        script.last_update((55, 95));
        script
    }

    /// Returns the run of `two_steps`, in which the slow worker dies at 60 and restarts at 80. It
    /// computes its gradient of step 1 from 85 to 115, so the run ends at 141.
    pub(super) fn with_a_restart() -> Self {
        let mut script = Self::first_step();
        script.does(SLOW, 45, E::Computes, Some((1, 1)));
        script.happens(SLOW, 60, E::Progress, None);
        script.life(TaskId::worker(1), 2);
        script.happens(SLOW_AGAIN, 80, E::Starts, None);
        script.greet(SLOW_AGAIN, 80);
        script.message((PS, 81), (SLOW_AGAIN, 85), E::SendsVersion, Some((1, 0)));
        script.compute(SLOW_AGAIN, (85, 115), (1, 1));
        script.message((FAST, 55), (PS, 57), E::SendsPush, Some((1, 0)));
        script.message((SLOW_AGAIN, 115), (PS, 135), E::SendsPush, Some((1, 1)));
        script.update(135, 140, 1);
        script.end(140);
        script
    }

    /// Returns the beginning of both runs: up to version 1 at both workers, and the fast worker's
    /// next gradient.
    fn first_step() -> Self {
        let mut script = Self(Run::default());
        for task in [TaskId::ps(0), TaskId::worker(0), TaskId::worker(1)] {
            script.life(task, 1);
        }
        for life in [PS, FAST, SLOW] {
            script.happens(life, 0, E::Starts, None);
        }
        script.does(FAST, 0, E::Reads, None);
        script.greet(FAST, 0);
        script.greet(SLOW, 0);
        script.happens(FAST, 2, E::Read, None);
        script.message((FAST, 2), (PS, 4), E::SendsRestore, Some((0, 0)));
        for worker in [FAST, SLOW] {
            script.message((PS, 4), (worker, 6), E::SendsVersion, Some((0, 0)));
        }
        script.compute(FAST, (6, 16), (0, 0));
        script.compute(SLOW, (6, 36), (0, 1));
        script.message((FAST, 16), (PS, 18), E::SendsPush, Some((0, 0)));
        script.message((SLOW, 36), (PS, 38), E::SendsPush, Some((0, 1)));
        script.update(38, 43, 0);
        for worker in [FAST, SLOW] {
            script.message((PS, 43), (worker, 45), E::SendsVersion, Some((1, 0)));
        }
        script.compute(FAST, (45, 55), (1, 0));
        script
    }

    fn last_update(&mut self, (pushed, came): (u64, u64)) {
        self.message((FAST, pushed), (PS, came), E::SendsPush, Some((1, 0)));
        self.update(came, came + 5, 1);
        self.end(came + 5);
    }

    fn end(&mut self, at: u64) {
        self.message((PS, at), (FAST, at + 1), E::SendsFinished, None);
        self.does(FAST, at + 1, E::Finishes, None);
    }

    pub(super) fn life(&mut self, task: TaskId, incarnation: u64) {
        let header = header(task, incarnation, 2);
        self.0.lives.push(TracedLife { header, events: Vec::new(), cut: None });
    }

    /// Adds the greeting of a worker and the welcome of the ps, which take less than a millisecond.
    fn greet(&mut self, worker: usize, at: u64) {
        let (theirs, ours) = link(worker);
        for (life, kind, link) in [(worker, E::Connected, theirs), (PS, E::Accepted, ours)] {
            let details = Details {
                link: Some(link),
                peer: (life == worker).then_some(TaskId::ps(0)),
                ..Details::default()
            };
            self.push(life, at, Entry { what: what(kind, None), details });
        }
        self.message((worker, at), (PS, at + 1), E::SendsHello, None);
        self.message((PS, at + 1), (worker, at + 1), E::SendsWelcome, None);
    }

    fn message(
        &mut self,
        (from, sent): (usize, u64),
        (to, came): (usize, u64),
        kind: E,
        of: Option<(u64, u32)>,
    ) {
        let greets = matches!(kind, E::SendsHello | E::SendsWelcome);
        let details = |life: usize, other: usize, incarnation| Details {
            link: Some(if life == PS { link(other).1 } else { link(life).0 }),
            peer: Some(self.0.lives[other].header.task),
            bytes: of.is_some().then_some(8),
            incarnation,
            ..Details::default()
        };
        let theirs = Some(self.0.lives[from].header.incarnation).filter(|_| greets);
        let (here, there) = (details(from, to, None), details(to, from, theirs));
        let received = E::ALL[kind as usize + 1];
        let at = self.event(from, sent);
        at.does.push(Entry { what: what(kind, of), details: here });
        self.push(to, came, Entry { what: what(received, of), details: there });
    }

    fn compute(&mut self, worker: usize, (begin, end): (u64, u64), of: (u64, u32)) {
        self.does(worker, begin, E::Computes, Some(of));
        self.happens(worker, end, E::Computed, Some(of));
    }

    fn update(&mut self, begin: u64, end: u64, step: u64) {
        let what = NamedEvent { slot: None, ..what(E::Updates, Some((step, 0))) };
        let slots = vec![Slot(0), Slot(1)];
        let updates = Entry { what, details: Details { slots, ..Details::default() } };
        self.event(PS, begin).does.push(updates);
        self.push(PS, end, Entry::of(NamedEvent { kind: E::Updated, ..what }));
    }

    fn happens(&mut self, life: usize, at: u64, kind: E, of: Option<(u64, u32)>) {
        self.push(life, at, Entry::of(what(kind, of)));
    }

    fn does(&mut self, life: usize, at: u64, kind: E, of: Option<(u64, u32)>) {
        self.event(life, at).does.push(Entry::of(what(kind, of)));
    }

    fn push(&mut self, life: usize, at: u64, input: Entry) {
        let events = &mut self.0.lives[life].events;
        let place = events.partition_point(|event| event.at <= ms(at));
        events.insert(place, Event { at: ms(at), input, does: Vec::new() });
    }

    /// Returns the last event of an incarnation at a time. Adds the event if there is none.
    fn event(&mut self, life: usize, at: u64) -> &mut Event {
        let events = &mut self.0.lives[life].events;
        events.iter_mut().rfind(|event| event.at == ms(at)).expect("something happens then")
    }

    pub(super) fn history(self) -> History {
        History::of(self.0)
    }
}

/// Returns the numbers of the link between a worker and the ps, at both ends.
const fn link(worker: usize) -> (LinkId, LinkId) {
    (LinkId(0), LinkId(worker as u64))
}

fn what(kind: E, of: Option<(u64, u32)>) -> NamedEvent {
    let (step, slot) = (of.map(|(step, _)| Step(step)), of.map(|(_, slot)| Slot(slot)));
    NamedEvent { kind, step, slot }
}
