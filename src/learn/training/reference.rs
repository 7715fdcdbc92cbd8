//! The serial reference: a run in one loop, without protocol and messages. A cluster must compute
//! the same bits as the serial reference.

use crate::training::{Gradients, Plan, Updates};
use unisono_core::floats::Floats;
use unisono_core::host::Work;
use unisono_core::ids::{Cut, Slot, Step};
use unisono_core::protocol::{Done, Failure, Job, ShardState, Snapshot, UpdateRecord};
use unisono_core::train_config::Sync;

/// A serial run. `W` does its jobs.
#[derive(Debug)]
pub struct Reference<W = SerialWork> {
    sync: Sync,
    work: W,
    snapshot: Snapshot,
    /// The gradients of the most recent update.
    last_gradients: Vec<(Slot, Vec<Floats>)>,
}

/// Does the jobs of a worker and of all ps, one after the other.
#[derive(Debug)]
pub struct SerialWork {
    gradients: Gradients,
    updates: Updates,
}

impl Work for SerialWork {
    fn work(&mut self, job: Job) -> Done {
        match job {
            Job::Gradient { .. } => self.gradients.work(job),
            Job::Update { .. } => self.updates.work(job),
        }
    }
}

impl Reference {
    /// Creates a run that continues from `snapshot`.
    #[must_use]
    pub fn new(plan: &Plan, snapshot: Snapshot) -> Self {
        let gradients = Gradients::new(plan);
        let updates = Updates::new(plan.rule.clone(), snapshot.shards.len());
        Self::with_work(SerialWork { gradients, updates }, plan.sync, snapshot)
    }
}

impl<W: Work> Reference<W> {
    /// Creates a run that continues from `snapshot`. `work` computes the gradients and the updates.
    #[must_use]
    pub const fn with_work(work: W, sync: Sync, snapshot: Snapshot) -> Self {
        Self { sync, work, snapshot, last_gradients: Vec::new() }
    }

    /// Returns the current state.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Returns the step of the next update.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.snapshot.cut.step
    }

    /// Returns the gradients of the last update, ascending by slot, with one buffer per shard.
    #[must_use]
    pub fn last_gradients(&self) -> &[(Slot, Vec<Floats>)] {
        &self.last_gradients
    }

    /// Returns the slots that every update uses in a run without backup workers: the first R slots.
    pub fn default_slots(&self) -> impl Iterator<Item = Slot> + use<W> {
        (0..self.sync.replicas_to_aggregate).map(Slot)
    }

    /// Makes one update from the gradients of `slots`. The slots must be ascending.
    ///
    /// # Errors
    /// [`Failure::NonFinite`] if a loss is infinite or NaN. In this case, the state does not
    /// change.
    pub fn update(
        &mut self,
        slots: impl IntoIterator<Item = Slot>,
    ) -> Result<UpdateRecord, Failure> {
        let Snapshot { cut, ref shards } = self.snapshot;
        let parameters: Vec<_> = shards.iter().map(|shard| shard.parameters.clone()).collect();
        let mut losses = Vec::new();
        // The old gradients are dropped before the next ones are computed, so that the pools can
        // reuse their buffers.
        self.last_gradients.clear();
        for slot in slots {
            let (loss, gradient) = self.gradient(cut, slot, parameters.clone());
            if !loss.is_finite() {
                return Err(Failure::NonFinite { step: cut.step, slot, loss });
            }
            losses.push((slot, loss));
            self.last_gradients.push((slot, gradient));
        }
        let n_shards = self.snapshot.shards.len();
        let shards = (0..n_shards).map(|ps| self.updated(cut, ps)).collect();
        self.snapshot = Snapshot { cut: cut.next(), shards };
        Ok(UpdateRecord { cut, losses })
    }

    fn gradient(&mut self, cut: Cut, slot: Slot, parameters: Vec<Floats>) -> (f32, Vec<Floats>) {
        match self.work.work(Job::Gradient { cut, slot, parameters }) {
            Done::Gradient { loss, gradient, .. } => (loss, gradient),
            Done::Update { .. } => unreachable!("a gradient job returns a gradient"),
        }
    }

    fn updated(&mut self, cut: Cut, ps: usize) -> ShardState {
        let of_shard = |(slot, parts): &(Slot, Vec<Floats>)| (*slot, parts[ps].clone());
        let gradients = self.last_gradients.iter().map(of_shard).collect();
        let state = self.snapshot.shards[ps].clone();
        match self.work.work(Job::Update { cut, state, gradients }) {
            Done::Update { state, .. } => state,
            Done::Gradient { .. } => unreachable!("an update job returns an update"),
        }
    }
}
