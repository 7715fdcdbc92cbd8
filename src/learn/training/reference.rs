//! The oracle: a run in one plain loop, with no protocol, no shards' agreement, no messages.

use crate::training::{Gradients, Plan, Updates};
use unisono_core::floats::Floats;
use unisono_core::ids::Cut;
use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{Failure, ShardState, Snapshot, UpdateRecord};

/// The serial run.
#[derive(Debug)]
pub struct Reference {
    plan: Plan,
    gradients: Gradients,
    updates: Updates,
    snapshot: Snapshot,
    /// Those of the update that was made last.
    last_gradients: Vec<(Slot, Vec<Floats>)>,
}

impl Reference {
    /// A run that goes on from `snapshot`.
    #[must_use]
    pub fn new(plan: Plan, snapshot: Snapshot) -> Self {
        let gradients = Gradients::new(&plan);
        let updates = Updates::new(plan.rule.clone(), snapshot.shards.len());
        Self { plan, gradients, updates, snapshot, last_gradients: Vec::new() }
    }

    /// Where the run is.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The step that comes next.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.snapshot.cut.step
    }

    /// The gradients that the last update was made of, one buffer a shard, ascending by slot.
    #[must_use]
    pub fn last_gradients(&self) -> &[(Slot, Vec<Floats>)] {
        &self.last_gradients
    }

    /// The slots that an update uses when nothing else is known: the first R.
    pub fn default_slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.plan.sync.replicas_to_aggregate).map(Slot)
    }

    /// Makes one update, of the gradients of these slots, ascending.
    ///
    /// # Errors
    /// If a loss is not finite; the run stays where it is then.
    pub fn update(
        &mut self,
        slots: impl IntoIterator<Item = Slot>,
    ) -> Result<UpdateRecord, Failure> {
        let Snapshot { cut: Cut { generation, step }, shards } = &self.snapshot;
        let (generation, step) = (*generation, *step);
        let parameters: Vec<_> = shards.iter().map(|shard| shard.parameters.clone()).collect();
        let mut losses = Vec::new();
        // Before any other is computed: their buffers are written again.
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
