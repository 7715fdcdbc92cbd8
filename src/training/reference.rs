//! The oracle: a run in one plain loop, with no protocol, no shards' agreement, no messages.

use crate::floats::{Floats, Pool};
use crate::ids::{Slot, Step};
use crate::protocol::{Failure, ShardState, Snapshot, UpdateRecord};
use crate::training::{Gradients, Plan};

/// The serial run.
#[derive(Debug)]
pub struct Reference {
    plan: Plan,
    gradients: Gradients,
    snapshot: Snapshot,
    pool: Pool,
}

impl Reference {
    /// A run that goes on from `snapshot`.
    #[must_use]
    pub fn new(plan: Plan, snapshot: Snapshot) -> Self {
        let gradients = Gradients::new(&plan);
        // Two versions of every buffer of every shard.
        let pool =
            Pool::new(2 * snapshot.shards.iter().map(|s| 1 + s.auxiliary.len()).sum::<usize>());
        Self { plan, gradients, snapshot, pool }
    }

    /// Where the run is.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The step that comes next.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.snapshot.step
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
        let Snapshot { generation, step, shards } = &self.snapshot;
        let (generation, step) = (*generation, *step);
        let parameters: Vec<_> = shards.iter().map(|shard| shard.parameters.clone()).collect();
        let (mut losses, mut gradients) = (Vec::new(), Vec::new());
        for slot in slots {
            let (loss, gradient) = self.gradients.compute(step, slot, &parameters);
            if !loss.is_finite() {
                return Err(Failure::NonFinite { step, slot, loss });
            }
            losses.push((slot, loss));
            gradients.push((slot, gradient));
        }
        let (rule, pool) = (&self.plan.rule, &mut self.pool);
        let shard = |(ps, state): (usize, &ShardState)| {
            let of_shard: Vec<(Slot, Floats)> =
                gradients.iter().map(|(slot, gradient)| (*slot, gradient[ps].clone())).collect();
            rule.update(pool, step, state, &of_shard)
        };
        let shards = shards.iter().enumerate().map(shard).collect();
        self.snapshot = Snapshot { generation, step: step.next(), shards };
        Ok(UpdateRecord { generation, step, losses })
    }
}
