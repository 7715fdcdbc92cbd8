//! Virtual time, and everything that happens in it.
//!
//! A [`Universe`] is shared by the hosts of all tasks of a run. It moves from plan to plan: while
//! any task is ready to run, no time passes. Faults are plans like any other.

mod disturb;
mod faults;
mod files;
mod state;
mod transport;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use unisono::checkpoint::RunFiles;
use unisono::protocol::{Done, Job, Message, Outcome, Snapshot, UpdateRecord};
use unisono::{LinkId, Moment, TaskId};

pub use self::faults::Bites;
pub(crate) use self::files::{ChiefFiles, Request, restore};
pub(crate) use self::state::{Order, State};
use self::transport::Parcel;
use crate::happening::Happening;
use crate::life::{Cause, Life, LifeId};
use crate::scenario::{Scenario, When};

/// The shared world of one run.
#[derive(Clone, Debug)]
pub struct Universe(Arc<Mutex<State>>);

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
        // A panic anywhere ends the run; what is left of it is only looked at.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life of a task begins.
    pub(crate) fn begin(&self, id: LifeId) {
        let mut state = self.state();
        state.absent.remove(&id.task);
        state.lives.insert(id.task, Life::new(id));
    }

    /// A life has halted: its links close behind it.
    pub(crate) fn end(&self, id: LifeId, outcome: Outcome) {
        self.state().on_halt(id, outcome);
    }

    /// What happens at a node, before or after it does. `n_acts` is how much of what the node wants
    /// done comes before it.
    pub(crate) fn notice(&self, id: LifeId, what: Happening, when: When, n_acts: usize) {
        self.state().notice(id, what, when, n_acts);
    }

    /// What led to the input that a life takes now, which is event number `number`.
    /// `None` if the life is over.
    pub(crate) fn take_cause(&self, id: LifeId, number: u64) -> Option<(Duration, Cause)> {
        let mut state = self.state();
        let now = state.now;
        let life = state.life(id)?;
        life.event = Some(number);
        Some((now, life.cause.take()))
    }

    /// The time, if a life is not over.
    pub(crate) fn now_if_alive(&self, id: LifeId) -> Option<Duration> {
        let mut state = self.state();
        let now = state.now;
        state.life(id).map(|_| now)
    }

    /// How many things a life does before it dies, if it is about to.
    pub(crate) fn acts_left(&self, id: LifeId) -> Option<usize> {
        let mut state = self.state();
        match state.life(id) {
            Some(life) => life.doom,
            None => Some(0),
        }
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
        // What the work asks is nobody's business here, and it takes long.
        if self.state().life(id).is_none() {
            return;
        }
        let takes_of = self.state().job_of(id, &job);
        let done = work(job);
        self.act(id, |state| state.compute(id, takes_of, done));
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
        self.act(id, |state| state.files.record(update));
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
