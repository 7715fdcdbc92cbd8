//! The simulated world of a run, which the hosts of its tasks share.
//!
//! Virtual time jumps from one planned event to the next, and only while no task is ready to run.
//! The beginnings and ends of faults are planned events, too. `state.rs`, `transport.rs` and
//! `fault_effects.rs` handle the events.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use unisono_core::LinkId;
use unisono_core::protocol::{Done, Effect, Job, NetworkEvent};
use unisono_rules::LifeId;

use crate::lock::lock;
use crate::scenario::{Scenario, When};
use crate::world::fault_effects::is_act;
use crate::world::life::{Cause, Life};
use crate::world::state::State;
use unisono_observe::trace::NamedEvent;

/// The simulated world of one run: virtual time, the network, the clocks, the disk and the faults.
/// All clones share the same world.
#[derive(Clone, Debug)]
pub(crate) struct Universe(Arc<Mutex<State>>);

/// The data that an observer gets when its node takes an input.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) now: Duration,
    /// The number of the input that caused this input.
    pub(crate) cause: Cause,
    /// Whether a disk fault may have damaged or hidden durable data.
    pub(crate) disk_is_damaged: bool,
}

impl Universe {
    /// Creates the world of a scenario at time zero. Plans the starts of all tasks, and the
    /// beginnings of all faults that begin at a fixed time.
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(scenario, seed))))
    }

    /// Returns the incarnation to which a link connects the incarnation `of`.
    pub(crate) fn peer(&self, link: LinkId, of: LifeId) -> Option<LifeId> {
        self.state().links.peer(link, of)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Begins an incarnation of a task.
    pub(crate) fn begin(&self, id: LifeId) {
        let mut state = self.state();
        // The task's machine may have lost its power before. From now on the machine answers calls
        // again.
        state.absent.remove(&id.task);
        state.lives.insert(id.task, Life::new(id));
    }

    /// Triggers the faults that wait for this input. Then records that the incarnation takes this
    /// input, whose number is `number`. Returns `None` if the incarnation has ended.
    pub(crate) fn take_input(&self, id: LifeId, what: NamedEvent, number: u64) -> Option<Taken> {
        let mut state = self.state();
        // Faults that begin before the input are triggered first, because such a fault may kill the
        // incarnation.
        state.notice(id, what, When::Before, 0);
        let (now, disk_is_damaged) = (state.now, state.disk_is_damaged);
        let life = state.life(id)?;
        life.event = Some(number);
        Some(Taken { now, cause: life.cause.take(), disk_is_damaged })
    }

    /// Triggers the faults that wait for one of these effects, or for the end of the input. Returns
    /// the effects that are carried out before a fault kills the incarnation. Returns `None` if the
    /// incarnation has ended already.
    pub(crate) fn take_effects<'a>(
        &self,
        id: LifeId,
        input: NamedEvent,
        effects: &'a [Effect],
    ) -> Option<&'a [Effect]> {
        let mut state = self.state();
        state.life(id)?;
        Some(match state.notice_effects(id, input, effects) {
            Some(n_left) => first_acts(effects, n_left),
            None => effects,
        })
    }

    /// Takes the first input of a queue of an incarnation, or waits for one.
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

    /// Takes the next network event of an incarnation, or waits for one.
    pub(crate) fn poll_network(&self, id: LifeId, context: &Context<'_>) -> Poll<NetworkEvent> {
        let mut state = self.state();
        let Some(life) = state.life(id) else { return Poll::Pending };
        let poll = life.poll(context, |life| &mut life.network);
        // A frame fills the queue of its sender until the receiving node takes the frame.
        if let Poll::Ready(NetworkEvent::Received { link, .. }) = &poll
            && let Some(direction) = state.links.towards(*link, id)
        {
            direction.queue.take();
        }
        poll
    }

    /// Computes the result of a job with `work`. The incarnation receives the result when the
    /// virtual duration of the job has passed.
    pub(crate) fn compute(&self, id: LifeId, job: Job, work: impl FnOnce(Job) -> Done) {
        let mut state = self.state();
        if state.life(id).is_none() {
            return;
        }
        let takes = state.job_takes(id, &job);
        // The lock is released, because the computation takes long and does not use the state.
        drop(state);
        let done = work(job);
        self.act(id, |state| state.compute(id, takes, done));
    }

    /// Carries out one effect of a node. Effects of a dead node are dropped. If a fault kills the
    /// node between two effects, the node dies after the last effect before the fault.
    pub(super) fn act(&self, id: LifeId, what: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if state.life(id).is_none() {
            return;
        }
        what(&mut state);
        // The effect is counted after it was carried out. So an incarnation that dies after one
        // more effect still carries out that effect.
        state.count_act(id);
    }
}

/// Returns the effects up to the `n`-th effect that is not a report, and the reports directly after
/// it.
fn first_acts(effects: &[Effect], n: usize) -> &[Effect] {
    let mut n_acts = 0;
    let end = effects.iter().position(|effect| {
        n_acts += usize::from(is_act(effect));
        n_acts > n
    });
    &effects[..end.unwrap_or(effects.len())]
}
