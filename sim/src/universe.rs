//! Virtual time, and everything that happens in it.
//!
//! A [`Universe`] is shared by the hosts of all tasks of a run. It moves from plan to plan: while
//! any task is ready to run, no time passes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use unisono::protocol::{Done, Message, NetworkEvent, StorageEvent};
use unisono::{LinkId, Moment, TaskId};

use crate::agenda::{Agenda, PlanId};
use crate::life::Life;
pub use crate::links::LifeId;
use crate::links::{LinkModel, Links, Parcel};

/// The shared world of one run.
#[derive(Clone, Debug)]
pub struct Universe(Arc<Mutex<State>>);

#[derive(Debug)]
pub(crate) struct State {
    now: Duration,
    agenda: Agenda<Plan>,
    links: Links,
    model: LinkModel,
    /// The present life of each task that has one.
    lives: BTreeMap<TaskId, (LifeId, Life)>,
    n_events: u64,
}

/// Something that is going to happen.
#[derive(Debug)]
enum Plan {
    Alarm(LifeId),
    Tell(LifeId, NetworkEvent),
    /// A call reaches the task that is called.
    Call {
        caller: LifeId,
        to: TaskId,
    },
    Arrive(LinkId, LifeId, Parcel),
    Done(LifeId, Done),
    Stored(LifeId, StorageEvent),
}

impl Universe {
    /// An empty one, at time zero.
    #[must_use]
    pub fn new(model: LinkModel) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: Duration::ZERO,
            agenda: Agenda::default(),
            links: Links::default(),
            model,
            lives: BTreeMap::new(),
            n_events: 0,
        })))
    }

    /// The time that has passed.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// Plans carried out so far.
    #[must_use]
    pub fn n_events(&self) -> u64 {
        self.state().n_events
    }

    /// The life at the other end of a life's link.
    #[must_use]
    pub fn peer(&self, link: LinkId, of: LifeId) -> Option<LifeId> {
        self.state().links.peer(link, of)
    }

    /// Carries out the next plan. `false` if there is none.
    pub fn advance(&self) -> bool {
        self.state().advance()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic anywhere ends the run; what is left of it is only looked at.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life of a task begins.
    pub(crate) fn begin(&self, id: LifeId) {
        self.state().lives.insert(id.task, (id, Life::default()));
    }

    /// A life ends: its links close behind it.
    pub(crate) fn end(&self, id: LifeId, why: &str) {
        self.close_all(id, why);
        let mut state = self.state();
        if state.lives.get(&id.task).is_some_and(|(present, _)| *present == id) {
            state.lives.remove(&id.task);
        }
    }

    /// Closes every link of a life, behind what was sent on it.
    pub(crate) fn close_all(&self, id: LifeId, why: &str) {
        let mut state = self.state();
        for link in state.links.of(id) {
            state.send(link, id, Parcel::Close(why.to_owned()));
            state.links.close(link, id);
        }
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment::from_origin(self.now())
    }

    /// Waits until a moment has come.
    pub(crate) fn poll_alarm(&self, id: LifeId, at: Moment, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        let (now, at) = (state.now, at.since_origin());
        let State { agenda, lives, .. } = &mut *state;
        let Some(life) = present(lives, id) else { return Poll::Pending };
        let old: Option<PlanId> = life.alarm.take();
        if let Some(old) = old {
            agenda.cancel(old);
        }
        if at <= now {
            return Poll::Ready(());
        }
        life.alarm = Some(agenda.plan(at, Plan::Alarm(id)));
        life.wait(context);
        Poll::Pending
    }

    pub(crate) fn poll<T>(
        &self,
        id: LifeId,
        context: &Context<'_>,
        queue: impl FnOnce(&mut Life) -> &mut std::collections::VecDeque<T>,
    ) -> Poll<T> {
        match present(&mut self.state().lives, id) {
            Some(life) => life.poll(context, queue),
            None => Poll::Pending,
        }
    }

    pub(crate) fn call(&self, caller: LifeId, to: TaskId) {
        let mut state = self.state();
        let at = state.now + state.model.latency;
        state.agenda.plan(at, Plan::Call { caller, to });
    }

    pub(crate) fn send(&self, link: LinkId, from: LifeId, message: Message) {
        self.state().send(link, from, Parcel::Message(message));
    }

    pub(crate) fn close(&self, link: LinkId, end: LifeId) {
        let mut state = self.state();
        state.send(link, end, Parcel::Close("closed by the other end".to_owned()));
        state.links.close(link, end);
    }

    pub(crate) fn compute(&self, id: LifeId, takes: Duration, done: Done) {
        let mut state = self.state();
        let at = state.now + takes;
        state.agenda.plan(at, Plan::Done(id, done));
    }

    pub(crate) fn store(&self, id: LifeId, takes: Duration, event: StorageEvent) {
        let mut state = self.state();
        let at = state.now + takes;
        state.agenda.plan(at, Plan::Stored(id, event));
    }
}

fn present(lives: &mut BTreeMap<TaskId, (LifeId, Life)>, id: LifeId) -> Option<&mut Life> {
    lives.get_mut(&id.task).filter(|(present, _)| *present == id).map(|(_, life)| life)
}

impl State {
    fn advance(&mut self) -> bool {
        let Some((at, plan)) = self.agenda.pop() else { return false };
        self.now = at;
        self.n_events += 1;
        match plan {
            Plan::Alarm(id) => {
                if let Some(life) = present(&mut self.lives, id) {
                    life.alarm = None;
                    life.wake();
                }
            }
            Plan::Tell(id, event) => self.tell(id, event),
            Plan::Call { caller, to } => self.on_call(caller, to),
            Plan::Arrive(link, end, parcel) => self.on_arrival(link, end, parcel),
            Plan::Done(id, done) => {
                if let Some(life) = present(&mut self.lives, id) {
                    life.done.push_back(done);
                    life.wake();
                }
            }
            Plan::Stored(id, event) => {
                if let Some(life) = present(&mut self.lives, id) {
                    life.stored.push_back(event);
                    life.wake();
                }
            }
        }
        true
    }

    fn tell(&mut self, id: LifeId, event: NetworkEvent) {
        if let Some(life) = present(&mut self.lives, id) {
            life.network.push_back(event);
            life.wake();
        }
    }

    fn on_call(&mut self, caller: LifeId, to: TaskId) {
        let answer_at = self.now + self.model.latency;
        let answer = match self.lives.get(&to).map(|(called, _)| *called) {
            Some(called) => {
                let link = self.links.open(caller, called, self.now);
                self.tell(called, NetworkEvent::Accepted { link });
                NetworkEvent::Connected { link, to }
            }
            None => {
                let why = format!("{to}: connection refused");
                NetworkEvent::ConnectFailed { to, why }
            }
        };
        self.agenda.plan(answer_at, Plan::Tell(caller, answer));
    }

    fn send(&mut self, link: LinkId, from: LifeId, parcel: Parcel) {
        if let Some((to, at)) = self.links.carry(link, from, self.now, self.model) {
            self.agenda.plan(at, Plan::Arrive(link, to, parcel));
        }
    }

    fn on_arrival(&mut self, link: LinkId, end: LifeId, parcel: Parcel) {
        if !self.links.is_open(link, end) {
            return;
        }
        match parcel {
            Parcel::Message(message) => self.tell(end, NetworkEvent::Received { link, message }),
            Parcel::Close(why) => {
                self.links.close(link, end);
                self.tell(end, NetworkEvent::Closed { link, why });
            }
        }
    }
}
