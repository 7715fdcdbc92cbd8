//! Loss and gradient of batch(seed, slot, step): the one place where data and model meet.

use std::fmt;
use std::sync::Arc;
use unisono_core::ids::Cut;

use super::plan::Plan;
use crate::data::{Batches, Dataset};
use crate::model::{Batch, Gradient, Layout, Model, Parameters};
use unisono_core::floats::{Floats, MakeBuffer, Pool};
use unisono_core::host::Work;
use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{Done, Job};

/// Gradients that a worker may have handed out and not got back: those of the step before are
/// held until the next versions have come.
const MAX_LENT: usize = 4;

/// Computes gradients of a run.
pub struct Gradients {
    data: Arc<Dataset>,
    layout: Arc<Layout>,
    batches: Batches,
    model: Box<dyn Model>,
    drawn: Vec<u32>,
    /// The rows of the batch that the model is prepared for, and whose they are.
    rows: Vec<usize>,
    prepared: Option<(Step, Slot)>,
    /// What was computed last, and whether the one before it was the same slot's, a step before.
    last: Option<(Step, Slot)>,
    is_steady: bool,
    /// One for each shard, so that buffers of one length are not asked for another.
    pools: Vec<Pool>,
}

impl Gradients {
    /// Of the plan's model.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self::of_model(plan, plan.model())
    }

    /// Of a model of one's own, with the variables of the plan's layout.
    #[must_use]
    pub fn of_model(plan: &Plan, model: Box<dyn Model>) -> Self {
        Self {
            data: Arc::clone(&plan.data),
            layout: Arc::clone(&plan.layout),
            batches: Batches::new(plan.batch_order()),
            model,
            drawn: Vec::new(),
            rows: Vec::new(),
            prepared: None,
            last: None,
            is_steady: false,
            pools: (0..plan.layout.n_ps()).map(|_| Pool::new(MAX_LENT)).collect(),
        }
    }

    /// From now on writes gradients into buffers that are made in another way.
    pub fn make_buffers(&mut self, make: MakeBuffer) {
        self.pools.iter_mut().for_each(|pool| pool.make_buffers(make));
    }

    /// The loss of the slot's batch, and its gradient, one buffer a shard, at a whole version.
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
        let batch = Batch { examples: &self.data.train, rows: &self.rows };
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
        self.model.prepare(Batch { examples: &self.data.train, rows: &self.rows });
        self.prepared = Some((step, slot));
    }
}

impl Work for Gradients {
    /// # Panics
    /// If the job is a ps's.
    fn work(&mut self, job: Job) -> Done {
        match job {
            Job::Gradient { cut: Cut { generation, step }, slot, parameters } => {
                let (loss, gradient) = self.compute(step, slot, &parameters);
                Done::Gradient { cut: Cut { generation, step }, slot, loss, gradient }
            }
            Job::Update { .. } => unreachable!("a worker updates nothing"),
        }
    }

    /// A worker that has computed one slot at two steps in a row will compute it at the next.
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
