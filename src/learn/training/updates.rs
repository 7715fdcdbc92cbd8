//! Updates of one shard: what a ps computes.

use crate::model::UpdateRule;
use unisono_core::floats::{Floats, MakeBuffer, Pool};
use unisono_core::host::Work;
use unisono_core::ids::Cut;
use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{Done, Job, ShardState};

/// Buffers of a shard that are in use at a time: each of Adam's two, the moving average and the
/// parameters, of this version and the two before it that may still be on their way to workers.
const MAX_LENT: usize = 12;

/// Makes the next version of shards.
#[derive(Debug)]
pub struct Updates {
    rule: UpdateRule,
    pool: Pool,
}

impl Updates {
    /// By this rule, for `n_shards` shards.
    #[must_use]
    pub const fn new(rule: UpdateRule, n_shards: usize) -> Self {
        Self { rule, pool: Pool::new(MAX_LENT * n_shards) }
    }

    /// From now on writes states into buffers that are made in another way.
    pub fn make_buffers(&mut self, make: MakeBuffer) {
        self.pool.make_buffers(make);
    }

    /// A shard's state at version `step` + 1, of its state at version `step` and the gradients of
    /// exactly `replicas_to_aggregate` slots, ascending.
    pub fn compute(
        &mut self,
        step: Step,
        state: &ShardState,
        gradients: &[(Slot, Floats)],
    ) -> ShardState {
        self.rule.update(&mut self.pool, step, state, gradients)
    }
}

impl Work for Updates {
    /// # Panics
    /// If the job is a worker's.
    fn work(&mut self, job: Job) -> Done {
        match job {
            Job::Update { cut: Cut { generation, step }, state, gradients } => Done::Update {
                cut: Cut { generation, step },
                state: self.compute(step, &state, &gradients),
            },
            Job::Gradient { .. } => unreachable!("a ps computes no gradient"),
        }
    }
}
