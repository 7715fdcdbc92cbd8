//! Virtual time, and everything that happens in it.
//!
//! A [`Universe`] is shared by the hosts of all tasks of a run. It moves from plan to plan: while
//! any task is ready to run, no time passes. Faults are plans like any other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use unisono_core::protocol::{
    Done, Effect, Job, Message, NetworkEvent, Outcome, Snapshot, UpdateRecord,
};
use unisono_core::{LinkId, Moment, TaskId};
use unisono_files::run_files::RunFiles;

use crate::lock::lock;
use crate::scenario::{Scenario, When};
use crate::world::fault_effects::is_act;
use crate::world::files::Request;
use crate::world::flight::Parcel;
use crate::world::life::{Cause, Life, LifeId};
use crate::world::state::State;
use unisono_observe::trace::NamedEvent;

/// The shared world of one run.
#[derive(Clone, Debug)]
pub struct Universe(Arc<Mutex<State>>);

/// What there is to know when a life takes an input.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) now: Duration,
    /// What led to the input.
    pub(crate) cause: Cause,
    /// What was durable may be found damaged, or not be found.
    pub(crate) disk_is_damaged: bool,
}

impl Universe {
    /// An empty one, at time zero, in which a scenario is going to happen.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(scenario, seed))))
    }

    /// The time that has passed.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// The life at the other end of a life's link.
    #[must_use]
    pub fn peer(&self, link: LinkId, of: LifeId) -> Option<LifeId> {
        self.state().links.peer(link, of)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// A life of a task begins.
    pub(crate) fn begin(&self, id: LifeId) {
        let mut state = self.state();
        state.absent.remove(&id.task);
        state.lives.insert(id.task, Life::new(id));
    }

    /// What the wall clock of a task's machine shows, in microseconds since 1970.
    pub(crate) fn wall_clock(&self, task: TaskId) -> u64 {
        self.state().wall_clock(task)
    }

    /// The node of a life has halted because its incarnation was refused as older. Returns whether
    /// its process is alive, to start another node.
    pub(crate) fn end_outdated(&self, id: LifeId) -> bool {
        self.state().on_outdated(id)
    }

    /// A life has halted: its links close behind it.
    pub(crate) fn end(&self, id: LifeId, outcome: Outcome) {
        self.state().on_halt(id, outcome);
    }

    /// A life takes an input, which is event number `number`. `None` if the life is over.
    pub(crate) fn take_input(&self, id: LifeId, what: NamedEvent, number: u64) -> Option<Taken> {
        let mut state = self.state();
        state.notice(id, what, When::Before, 0);
        let (now, disk_is_damaged) = (state.now, state.disk_is_damaged);
        let life = state.life(id)?;
        life.event = Some(number);
        Some(Taken { now, cause: life.cause.take(), disk_is_damaged })
    }

    /// What a life wants done because of an input: the time, and what of it is done before the life
    /// is over. `None` if it is over already.
    pub(crate) fn take_effects<'a>(
        &self,
        id: LifeId,
        input: NamedEvent,
        effects: &'a [Effect],
    ) -> Option<(Duration, &'a [Effect])> {
        let mut state = self.state();
        state.life(id)?;
        let done = match state.notice_effects(id, input, effects) {
            Some(n_left) => acts(effects, n_left),
            None => effects,
        };
        Some((state.now, done))
    }

    pub(crate) fn moment(&self, task: TaskId) -> Moment {
        let state = self.state();
        Moment::from_origin(state.clock(task).at(state.now))
    }

    /// Waits until a life's clock shows a moment.
    pub(crate) fn poll_alarm(&self, id: LifeId, at: Moment, context: &Context<'_>) -> Poll<()> {
        self.state().poll_alarm(id, at, context)
    }

    /// Waits for the first of a life's queue.
    pub(crate) fn poll<T>(
        &self,
        id: LifeId,
        context: &Context<'_>,
        queue: impl FnOnce(&mut Life) -> &mut VecDeque<(Cause, T)>,
    ) -> Poll<T> {
        match self.state().life(id) {
            Some(life) => life.poll(context, queue),
            None => Poll::Pending,
        }
    }

    /// Waits for the next event of a life's network. A message that it takes waits no more.
    pub(crate) fn poll_network(&self, id: LifeId, context: &Context<'_>) -> Poll<NetworkEvent> {
        let mut state = self.state();
        let Some(life) = state.life(id) else { return Poll::Pending };
        let poll = life.poll(context, |life| &mut life.network);
        if let Poll::Ready(NetworkEvent::Received { link, .. }) = &poll {
            state.links.take(*link, id);
        }
        poll
    }

    pub(crate) fn call(&self, caller: LifeId, to: TaskId) {
        self.act(caller, |state| state.call(caller, to));
    }

    pub(crate) fn send(&self, link: LinkId, from: LifeId, message: Message) {
        self.act(from, |state| state.send(link, from, Parcel::Message(message)));
    }

    pub(crate) fn close(&self, link: LinkId, end: LifeId) {
        self.act(end, |state| state.close(link, end, "closed by the other end"));
    }

    /// Closes every link of a life, behind what was sent on it.
    pub(crate) fn close_all(&self, id: LifeId) {
        self.act(id, |state| {
            for link in state.links.of(id) {
                state.close(link, id, "the other end has ended");
            }
        });
    }

    /// A job that `work` does; its result comes when it has taken its time.
    pub(crate) fn compute(&self, id: LifeId, job: Job, work: impl FnOnce(Job) -> Done) {
        let mut state = self.state();
        if state.life(id).is_none() {
            return;
        }
        let takes = state.job_of(id, &job);
        // What the work asks is nobody's business here, and it takes long.
        drop(state);
        let done = work(job);
        self.act(id, |state| state.compute(id, takes, done));
    }

    /// The chief's files are open, for this life.
    pub(crate) fn open_files(&self, id: LifeId, files: RunFiles) {
        self.state().files.open(id, files);
    }

    pub(crate) fn restore(&self, id: LifeId) {
        self.act(id, |state| state.request(id, Request::Restore));
    }

    pub(crate) fn persist(&self, id: LifeId, snapshot: Arc<Snapshot>) {
        self.act(id, |state| state.request(id, Request::Persist(snapshot)));
    }

    pub(crate) fn record(&self, id: LifeId, update: &UpdateRecord) {
        self.act(id, |state| state.record(id, update));
    }

    /// One of the things that a node does. One that is dead does nothing; one that is doomed dies
    /// when it has done what was left to it.
    fn act(&self, id: LifeId, what: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if state.life(id).is_none() {
            return;
        }
        what(&mut state);
        state.count_act(id);
    }
}

/// The effects up to the `n`th that is more than a report.
fn acts(effects: &[Effect], n: usize) -> &[Effect] {
    let mut n_acts = 0;
    let end = effects.iter().position(|effect| {
        n_acts += usize::from(is_act(effect));
        n_acts > n
    });
    &effects[..end.unwrap_or(effects.len())]
}
