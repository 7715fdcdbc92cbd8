//! Computes the updates of shards, which is the work of a ps.

use crate::model::UpdateRule;
use unisono_core::floats::{Floats, MakeBuffer, Pool};
use unisono_core::host::Work;
use unisono_core::ids::{Cut, Slot, Step};
use unisono_core::protocol::{Done, Job, ShardState};

/// Maximum number of buffers per shard that the pool keeps for reuse: four buffers (the parameters,
/// the moving average and the two of Adam) for each of three versions. Messages to workers may
/// still use the buffers of the two older versions.
const MAX_LENT: usize = 12;

/// Computes the next version of shards.
#[derive(Debug)]
pub struct Updates {
    rule: UpdateRule,
    pool: Pool,
}

impl Updates {
    /// Creates the computation of updates by `rule`. The pool keeps enough buffers for `n_shards`
    /// shards.
    #[must_use]
    pub const fn new(rule: UpdateRule, n_shards: usize) -> Self {
        Self { rule, pool: Pool::new(MAX_LENT * n_shards) }
    }

    /// Sets the function that allocates the buffers of later states.
    pub fn make_buffers(&mut self, make: MakeBuffer) {
        self.pool.make_buffers(make);
    }

    /// Computes a shard's state at version `step` + 1 from its state at version `step` and the
    /// gradients. The gradients must be of exactly `replicas_to_aggregate` slots, ascending.
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
    /// If the job is a gradient. Only a worker computes gradients.
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
