//! Loss and gradient of batch(seed, slot, step): the one place where data and model meet.

use std::fmt;
use std::sync::Arc;

use super::plan::Plan;
use crate::data::{Batches, Dataset};
use crate::floats::Floats;
use crate::ids::{Slot, Step};
use crate::model::{Batch, Gradient, Layout, Model, Parameters};
use crate::protocol::{Done, Job};

/// Gradients that a worker may have handed out and not got back: those of the step before are
/// held until the next versions have come.
const MAX_SPARE: usize = 4;

/// Computes gradients of a run.
pub struct Gradients {
    data: Arc<Dataset>,
    layout: Arc<Layout>,
    batches: Batches,
    model: Box<dyn Model>,
    drawn: Vec<u32>,
    rows: Vec<usize>,
    /// Buffers that were handed out; those that nobody holds any more are written again.
    spare: Vec<Vec<Floats>>,
}

impl Gradients {
    /// Of the plan's model.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self::of_model(plan, Box::new(plan.model()))
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
            spare: Vec::new(),
        }
    }

    /// The loss of the slot's batch, and its gradient, one buffer a shard, at a whole version.
    pub fn compute(&mut self, step: Step, slot: Slot, parameters: &[Floats]) -> (f32, Vec<Floats>) {
        self.batches.rows_into(slot, step, &mut self.drawn);
        self.rows.clear();
        self.rows.extend(self.drawn.iter().map(|&row| row as usize));
        let mut buffers = self.buffers();
        let batch = Batch { examples: &self.data.train, rows: &self.rows };
        let loss = self.model.gradient(
            batch,
            Parameters::new(&self.layout, parameters),
            Gradient::new(&self.layout, &mut buffers),
        );
        let gradient: Vec<Floats> = buffers.into_iter().map(Floats::from).collect();
        if self.spare.len() < MAX_SPARE {
            self.spare.push(gradient.clone());
        }
        (loss, gradient)
    }

    /// Buffers to write in: the oldest that were handed out and came back, or else new ones.
    fn buffers(&mut self) -> Vec<Vec<f32>> {
        let is_free = |gradient: &Vec<Floats>| gradient.iter().all(Floats::is_unshared);
        let Some(free) = self.spare.iter().position(is_free) else {
            return vec![Vec::new(); self.layout.n_ps()];
        };
        let gradient = self.spare.remove(free);
        gradient.into_iter().map(|shard| shard.reclaim().unwrap_or_default()).collect()
    }

    /// Does a worker's jobs.
    ///
    /// # Panics
    /// If the job is a ps's.
    pub fn work(&mut self, job: Job) -> Done {
        match job {
            Job::Gradient { generation, step, slot, parameters } => {
                let (loss, gradient) = self.compute(step, slot, &parameters);
                Done::Gradient { generation, step, slot, loss, gradient }
            }
            Job::Update { .. } => unreachable!("a worker updates nothing"),
        }
    }
}

impl fmt::Debug for Gradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gradients").field("batches", &self.batches.order()).finish_non_exhaustive()
    }
}
