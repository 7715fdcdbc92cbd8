//! The trait that models implement, and the types of its arguments.
//!
//! [`Mlp`](crate::model::Mlp) implements [`Model`]. Users of the library can implement other
//! models.

use ndarray::{ArrayD, ArrayViewD};

use crate::data::Examples;
use crate::model::initial;
use crate::model::layout::{Layout, RowBlock, Variable};
use unisono_core::floats::{Buffer, Floats};
use unisono_core::ids::{Slot, Step};
use unisono_core::random::{Purpose, Stream};

/// A selection of examples. An example may occur more than once.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The examples from which `rows` selects some.
    pub examples: &'a Examples,
    /// Indices of the selected examples. A sum over the batch adds its terms in the order of these
    /// indices.
    pub rows: &'a [usize],
    /// The key of random numbers that the model may draw for the batch; `None` if the model is
    /// evaluated, and must not draw any.
    pub draw: Option<Draw>,
}

impl<'a> Batch<'a> {
    /// Selects examples for an evaluation.
    #[must_use]
    pub const fn evaluation(examples: &'a Examples, rows: &'a [usize]) -> Self {
        Self { examples, rows, draw: None }
    }
}

/// The key of the random numbers of a batch, for example for dropout. Every computation of the same
/// batch has the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The seed of the run.
    pub seed: u64,
    /// The slot of the batch.
    pub slot: Slot,
    /// The step of the batch.
    pub step: Step,
}

impl Draw {
    /// Returns a stream of random numbers for this batch. Streams with different numbers are
    /// independent; a layer uses its own number.
    #[must_use]
    pub fn stream(self, number: u64) -> Stream {
        let Self { seed, slot, step } = self;
        Stream::new(seed, Purpose::Batch, slot.0.into(), step.0).with_nonce(number)
    }
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

    /// Copies the values of variable number `variable`, in row-major order.
    ///
    /// # Panics
    /// Panics if `values` does not have the length of the variable.
    pub fn read_into(&self, variable: usize, values: &mut [f32]) {
        let n_elements = self.layout.variables()[variable].n_elements();
        assert_eq!(values.len(), n_elements, "elements of a variable");
        let mut values = values;
        for block in self.layout.row_blocks(variable) {
            let (here, rest) = values.split_at_mut(block.range.len());
            self.shards[block.ps].read(block.range.start, here);
            values = rest;
        }
    }

    /// Returns row `row` of a variable if the row ends in the block `part`. Otherwise returns
    /// `None`.
    ///
    /// If several shards share the row, the row is assembled in `room`, which must have the length
    /// of a row. The caller visits the blocks in ascending order, so the row is complete when its
    /// last part is read.
    #[inline(always)]
    pub(crate) fn whole_row<'b>(
        &'b self,
        part: &RowBlock,
        row: usize,
        room: &'b mut [f32],
    ) -> Option<&'b [f32]> {
        let RowBlock { ps, range, rows, columns } = part;
        let (shard, start) = (&self.shards[*ps], range.start + (row - rows.start) * columns.len());
        if columns.len() == room.len() {
            return Some(shard.chunk(start..start + columns.len(), room));
        }
        shard.read(start, &mut room[columns.clone()]);
        (columns.end == room.len()).then_some(room)
    }

    /// Visits the rows of variable number `variable`, ascending. `room` is scratch memory of the
    /// length of a row.
    #[inline(always)]
    pub(crate) fn for_each_row(
        &self,
        variable: usize,
        room: &mut [f32],
        mut visit: impl FnMut(usize, &[f32]),
    ) {
        for part in self.layout.row_blocks(variable) {
            for row in part.rows.clone() {
                if let Some(values) = self.whole_row(part, row, room) {
                    visit(row, values);
                }
            }
        }
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
