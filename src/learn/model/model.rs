//! The trait that models implement, and the types of its arguments.
//!
//! [`Mlp`](crate::model::Mlp) implements [`Model`]. Users of the library can implement other
//! models.

use ndarray::{ArrayD, ArrayViewD};

use crate::data::Examples;
use crate::model::initial;
use crate::model::layout::{Layout, Variable};
use unisono_core::floats::{Buffer, Floats};

/// A selection of examples. An example may occur more than once.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The examples from which `rows` selects some.
    pub examples: &'a Examples,
    /// Indices of the selected examples. A sum over the batch adds its terms in the order of these
    /// indices.
    pub rows: &'a [usize],
}

/// One version of all variables, split into shards.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) shards: &'a [Floats],
}

impl<'a> Parameters<'a> {
    /// Creates parameters from `shards`, which must contain one shard per ps, in the order of the
    /// ps.
    ///
    /// # Panics
    /// If the number of shards or the length of a shard differs from the layout.
    #[must_use]
    pub fn new(layout: &'a Layout, shards: &'a [Floats]) -> Self {
        layout.assert_shards(shards.iter().map(|shard| shard.len()));
        Self { layout, shards }
    }

    /// Returns the values of variable number `variable`, counted in creation order.
    #[must_use]
    pub fn read(&self, variable: usize) -> ArrayD<f32> {
        self.layout.read(variable, self.shards)
    }
}

/// The destination of a gradient: one buffer per shard. The buffers contain arbitrary values at
/// first.
#[derive(Debug)]
pub struct Gradient<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) shards: &'a mut [Buffer],
}

impl<'a> Gradient<'a> {
    /// Creates a destination from the buffers `shards`, which must be in the order of the ps.
    /// Replaces each buffer whose length differs from that of its shard.
    ///
    /// # Panics
    /// If the number of buffers is not the number of ps.
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

    /// Writes the gradient with respect to variable number `variable`, counted in creation order.
    ///
    /// # Panics
    /// If `values` does not have the variable's shape.
    pub fn write(&mut self, variable: usize, values: ArrayViewD<'_, f32>) {
        let shape = &self.layout.variables()[variable].shape;
        assert_eq!(values.shape(), shape, "shape of a gradient");
        let values = values.as_standard_layout();
        self.write_flat(variable, values.as_slice().expect("in standard layout"));
    }

    /// Writes the gradient with respect to variable number `variable`, counted in creation order.
    /// `values` must be in row-major order.
    pub(crate) fn write_flat(&mut self, variable: usize, values: &[f32]) {
        self.layout.write(variable, values, self.shards);
    }
}

/// A model that can be trained.
///
/// The arguments of a method and the configuration of the model must determine every result, bit
/// for bit. A model may keep scratch memory between calls, but the content of that memory must not
/// affect a result.
pub trait Model: Send {
    /// Returns the variables, in creation order. Every call returns the same variables.
    fn variables(&self) -> Vec<Variable>;

    /// Returns the initial values of each variable, as a function of the seed.
    ///
    /// The default implementation returns [`initial::initial_values`]: truncated normal values for
    /// variables of two or more dimensions, and 0 for all others.
    fn initial_values(&self, seed: u64) -> Vec<ArrayD<f32>> {
        initial::initial_values(&self.variables(), seed)
    }

    /// Loads a batch whose gradient will probably be requested next. The caller calls this method
    /// while it has nothing else to do.
    ///
    /// This call must not affect any result. The default implementation does nothing. The caller's
    /// next call is either [`Self::gradient`] of the same batch, or [`Self::prepare`] of another
    /// batch.
    fn prepare(&mut self, _batch: Batch<'_>) {}

    /// Computes the loss and the gradient of a batch.
    ///
    /// Returns the mean loss over the batch, including the L2 term. Overwrites every element of
    /// `gradient` with the gradient of the loss without the L2 term. The ps adds the gradient of
    /// the L2 term only once per update, to the mean over the slots.
    fn gradient(
        &mut self,
        batch: Batch<'_>,
        parameters: Parameters<'_>,
        gradient: Gradient<'_>,
    ) -> f32;

    /// Replaces the content of `logits` with the logits of a batch: `n_classes` values per example,
    /// in the order of the batch.
    fn logits(&mut self, batch: Batch<'_>, parameters: Parameters<'_>, logits: &mut Vec<f32>);
}
