//! What a model is: its variables, its gradient, its logits. [`Mlp`](crate::model::Mlp) is one;
//! whoever uses the library may write another.

use std::fmt;

use ndarray::{ArrayD, ArrayViewD};

use crate::data::Examples;
use crate::model::initial;
use crate::model::layout::{Layout, Variable};
use unisono_core::floats::{Buffer, Floats};

/// Some examples, by their row numbers. A row may come more than once.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Where the rows are.
    pub examples: &'a Examples,
    /// Which rows, in the order in which sums take them.
    pub rows: &'a [usize],
}

/// One version of all variables, as the shards hold it.
#[derive(Clone, Copy)]
pub struct Parameters<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) shards: &'a [Floats],
}

impl<'a> Parameters<'a> {
    /// The shards of a version, in the order of the ps.
    ///
    /// # Panics
    /// If they are not of this layout.
    #[must_use]
    pub fn new(layout: &'a Layout, shards: &'a [Floats]) -> Self {
        layout.assert_shards(shards.iter().map(|shard| shard.len()));
        Self { layout, shards }
    }

    /// The values of variable number `variable`.
    #[must_use]
    pub fn read(&self, variable: usize) -> ArrayD<f32> {
        self.layout.read(variable, self.shards)
    }
}

impl fmt::Debug for Parameters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parameters").field(&self.shards).finish()
    }
}

/// Where a gradient is written: a buffer a shard, which held anything before.
pub struct Gradient<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) shards: &'a mut [Buffer],
}

impl<'a> Gradient<'a> {
    /// Makes each buffer as long as its shard. A buffer that is so already is not touched.
    ///
    /// # Panics
    /// If there are not as many buffers as shards.
    #[must_use]
    pub fn new(layout: &'a Layout, shards: &'a mut [Buffer]) -> Self {
        assert_eq!(shards.len(), layout.n_ps(), "number of shards");
        for (ps, shard) in shards.iter_mut().enumerate() {
            if shard.len() != layout.shard_len(ps) {
                *shard = vec![0.0; layout.shard_len(ps)].into();
            }
        }
        Self { layout, shards }
    }

    /// Sets the gradient of variable number `variable`.
    ///
    /// # Panics
    /// If it is not of the variable's shape.
    pub fn write(&mut self, variable: usize, values: ArrayViewD<'_, f32>) {
        let shape = &self.layout.variables()[variable].shape;
        assert_eq!(values.shape(), shape, "shape of a gradient");
        let values = values.as_standard_layout();
        self.write_flat(variable, values.as_slice().expect("in standard layout"));
    }

    /// As [`Self::write`], of the elements row-major.
    pub(crate) fn write_flat(&mut self, variable: usize, values: &[f32]) {
        self.layout.write(variable, values, self.shards);
    }
}

impl fmt::Debug for Gradient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gradient").field(&self.layout).finish_non_exhaustive()
    }
}

/// A model that can be trained.
///
/// Its results must be a pure function of the arguments, to the bit: whatever it keeps between
/// calls is room to work in.
pub trait Model: Send {
    /// Its variables, in creation order; always the same.
    fn variables(&self) -> Vec<Variable>;

    /// The values to begin with, by variable: a function of the seed alone.
    ///
    /// Unless overridden, [`initial::initial_values`]: matrices normal, anything else 0.
    fn initial_values(&self, seed: u64) -> Vec<ArrayD<f32>> {
        initial::initial_values(&self.variables(), seed)
    }

    /// Reads a batch, of which the gradient will be asked for next, while there is nothing else to
    /// do. It changes no result: a model need not have it.
    ///
    /// Whoever calls it asks for nothing else of the model before that gradient, or prepares
    /// another batch.
    fn prepare(&mut self, _batch: Batch<'_>) {}

    /// The loss of a batch, with the L2 term, and the gradient of the loss without it: the ps adds
    /// that of the L2 term, once, to the mean over the slots. Every element must be written.
    fn gradient(
        &mut self,
        batch: Batch<'_>,
        parameters: Parameters<'_>,
        gradient: Gradient<'_>,
    ) -> f32;

    /// The logits of a batch: into `logits`, a row of `n_classes` for each of its rows.
    fn logits(&mut self, batch: Batch<'_>, parameters: Parameters<'_>, logits: &mut Vec<f32>);
}
