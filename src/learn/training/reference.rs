//! The serial reference: a run in one loop, without protocol and messages. A cluster's run must
//! reach the same bits.

use crate::training::{Gradients, Plan, Updates};
use unisono_core::floats::Floats;
use unisono_core::ids::{Cut, Slot, Step};
use unisono_core::protocol::{Failure, ShardState, Snapshot, UpdateRecord};

/// A serial run.
#[derive(Debug)]
pub struct Reference {
    plan: Plan,
    gradients: Gradients,
    updates: Updates,
    snapshot: Snapshot,
    /// The gradients of the most recent update.
    last_gradients: Vec<(Slot, Vec<Floats>)>,
}

impl Reference {
    /// Returns a run that continues from `snapshot`.
    #[must_use]
    pub fn new(plan: Plan, snapshot: Snapshot) -> Self {
        let gradients = Gradients::new(&plan);
        let updates = Updates::new(plan.rule.clone(), snapshot.shards.len());
        Self { plan, gradients, updates, snapshot, last_gradients: Vec::new() }
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

    /// Returns the slots of an update without backup workers: the first R.
    pub fn default_slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.plan.sync.replicas_to_aggregate).map(Slot)
    }

    /// Makes one update from the gradients of `slots`, which ascend.
    ///
    /// # Errors
    /// [`Failure::NonFinite`] if a loss is infinite or NaN. The state does not change then.
    pub fn update(
        &mut self,
        slots: impl IntoIterator<Item = Slot>,
    ) -> Result<UpdateRecord, Failure> {
        let Snapshot { cut: Cut { generation, step }, shards } = &self.snapshot;
        let (generation, step) = (*generation, *step);
        let parameters: Vec<_> = shards.iter().map(|shard| shard.parameters.clone()).collect();
        let mut losses = Vec::new();
        // Dropped before the next gradients are computed, so that the pools can reuse the buffers.
        self.last_gradients.clear();
        for slot in slots {
            let (loss, gradient) = self.gradients.compute(step, slot, &parameters);
            if !loss.is_finite() {
                return Err(Failure::NonFinite { step, slot, loss });
            }
            losses.push((slot, loss));
            self.last_gradients.push((slot, gradient));
        }
        let (updates, gradients) = (&mut self.updates, &self.last_gradients);
        let shard = |(ps, state): (usize, &ShardState)| {
            let of_shard: Vec<(Slot, Floats)> =
                gradients.iter().map(|(slot, gradient)| (*slot, gradient[ps].clone())).collect();
            updates.compute(step, state, &of_shard)
        };
        let shards = shards.iter().enumerate().map(shard).collect();
        self.snapshot = Snapshot { cut: Cut { generation, step: step.next() }, shards };
        Ok(UpdateRecord { cut: Cut { generation, step }, losses })
    }
}
