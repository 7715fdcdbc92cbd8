//! Computes the loss and the gradient of a slot's batch from the data and the model. The seed, the
//! slot and the step determine the batch.

use std::fmt;
use std::sync::Arc;
use unisono_core::ids::{Cut, Slot, Step};

use super::plan::Plan;
use crate::data::{Batches, Dataset};
use crate::model::{Batch, Draw, Gradient, Layout, Model, Parameters};
use unisono_core::floats::{Floats, MakeBuffer, Pool};
use unisono_core::host::Work;
use unisono_core::protocol::{Done, Job};

/// Maximum number of gradient buffers that the pool of a shard keeps for reuse. Buffers of two
/// steps are in use at a time, because a worker keeps the gradients of the previous step until the
/// next versions have arrived.
const MAX_LENT: usize = 4;

/// Computes the gradients of a run.
pub struct Gradients {
    data: Arc<Dataset>,
    layout: Arc<Layout>,
    batches: Batches,
    seed: u64,
    model: Box<dyn Model>,
    /// The row indices of the current batch, in the type that [`Batches`] returns. The vector is
    /// kept to reuse its memory.
    drawn: Vec<u32>,
    /// The row indices of the current batch, in the type that [`Batch`] requires.
    rows: Vec<usize>,
    /// The step and the slot of the batch that the model has loaded in advance, if any.
    prepared: Option<(Step, Slot)>,
    /// The step and the slot of the last computed gradient.
    last: Option<(Step, Slot)>,
    /// Whether the last two gradients were of the same slot, at consecutive steps.
    is_steady: bool,
    /// One pool per shard, so that every buffer in a pool has the shard's length.
    pools: Vec<Pool>,
}

impl Gradients {
    /// Creates the computation of gradients for the plan's model.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self::of_model(plan, plan.model())
    }

    /// Creates the computation of gradients for `model`, which must have the variables of the
    /// plan's layout.
    #[must_use]
    pub fn of_model(plan: &Plan, model: Box<dyn Model>) -> Self {
        Self {
            data: Arc::clone(&plan.data),
            layout: Arc::clone(&plan.layout),
            batches: Batches::new(plan.batch_order()),
            seed: plan.train.seed,
            model,
            drawn: Vec::new(),
            rows: Vec::new(),
            prepared: None,
            last: None,
            is_steady: false,
            pools: (0..plan.layout.n_ps()).map(|_| Pool::new(MAX_LENT)).collect(),
        }
    }

    /// Sets the function that allocates the buffers of later gradients.
    pub fn make_buffers(&mut self, make: MakeBuffer) {
        self.pools.iter_mut().for_each(|pool| pool.make_buffers(make));
    }

    /// Computes the loss and the gradient of the batch of `slot` at `step`. The gradient has one
    /// buffer per shard.
    ///
    /// `parameters` are all shards of version `step`, in the order of the ps.
    pub fn compute(&mut self, step: Step, slot: Slot, parameters: &[Floats]) -> (f32, Vec<Floats>) {
        if self.prepared != Some((step, slot)) {
            self.prepare(step, slot);
        }
        self.prepared = None;
        let follows = |(last, of): (Step, Slot)| of == slot && last.next() == step;
        self.is_steady = self.last.replace((step, slot)).is_some_and(follows);
        let lens = (0..).map(|ps| self.layout.shard_len(ps));
        let mut buffers: Vec<_> =
            self.pools.iter_mut().zip(lens).map(|(pool, len)| pool.take(len)).collect();
        let draw = Some(Draw { seed: self.seed, slot, step });
        let batch = Batch { examples: &self.data.train, rows: &self.rows, draw };
        let loss = self.model.gradient(
            batch,
            Parameters::new(&self.layout, parameters),
            Gradient::new(&self.layout, &mut buffers),
        );
        let lend = |(pool, buffer): (&mut Pool, _)| pool.lend(buffer);
        (loss, self.pools.iter_mut().zip(buffers).map(lend).collect())
    }

    fn prepare(&mut self, step: Step, slot: Slot) {
        self.batches.rows_into(slot, step, &mut self.drawn);
        self.rows.clear();
        self.rows.extend(self.drawn.iter().map(|&row| row as usize));
        let draw = Some(Draw { seed: self.seed, slot, step });
        self.model.prepare(Batch { examples: &self.data.train, rows: &self.rows, draw });
        self.prepared = Some((step, slot));
    }
}

impl Work for Gradients {
    /// # Panics
    /// If the job is an update. Only a ps computes updates.
    fn work(&mut self, job: Job) -> Done {
        match job {
            Job::Gradient { cut: Cut { generation, step }, slot, parameters } => {
                let (loss, gradient) = self.compute(step, slot, &parameters);
                Done::Gradient { cut: Cut { generation, step }, slot, loss, gradient }
            }
            Job::Update { .. } => unreachable!("a worker updates nothing"),
        }
    }

    /// Prepares the next batch, if the last two gradients were of the same slot at consecutive
    /// steps. The next batch is then probably the batch of this slot at the next step.
    fn look_ahead(&mut self) {
        if let (true, Some((step, slot))) = (self.is_steady, self.last) {
            self.prepare(step.next(), slot);
        }
    }
}

impl fmt::Debug for Gradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gradients").field("batches", &self.batches.order()).finish_non_exhaustive()
    }
}
