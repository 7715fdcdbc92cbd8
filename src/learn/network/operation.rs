//! The trait that all kinds of layers implement.

use std::fmt;
use std::ops::Range;

use crate::model::{Draw, Gradient, Parameters, SimdLevel, Variable};

/// A layer of a network, with the memory that it needs between the two directions of a step.
///
/// Sums over a batch add the examples in their order, so the caller passes each example once,
/// ascending, in each direction.
pub(crate) trait Operation: Send + fmt::Debug {
    /// Returns whether the layer gets all examples of a batch at once. Other layers get them one by
    /// one, so that the values of an example stay in the cache from layer to layer.
    fn takes_whole_batches(&self) -> bool {
        false
    }

    /// Returns the variables, in creation order. The names lack the name of the layer.
    fn variables(&self) -> Vec<Variable> {
        Vec::new()
    }

    /// Returns the initial value of every element of a variable with fewer than two dimensions.
    fn initial_value(&self, _variable: usize) -> f32 {
        0.0
    }

    /// Prepares the layer for a batch. `first` is the number of the layer's first variable.
    fn begin(&mut self, batch: &Start, parameters: Parameters<'_>, first: usize);

    /// Returns the sum of the squares of all elements that the L2 term covers, added to `before`
    /// (rule 18).
    fn squares(&self, _level: SimdLevel, before: f64) -> f64 {
        before
    }

    /// Computes the outputs of some examples.
    fn forward(&mut self, level: SimdLevel, pass: Forward<'_>);

    /// Adds the examples to the gradient of the variables, and computes the deltas of the inputs.
    fn backward(&mut self, level: SimdLevel, pass: Backward<'_>);

    /// Writes the gradient of the variables. `first` is the number of the layer's first variable.
    fn write_gradient(&self, _gradient: &mut Gradient<'_>, _first: usize) {}
}

/// A batch, as a layer sees it before the first example.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// The number of examples.
    pub(crate) n_examples: usize,
    /// The key of random numbers; `None` in an evaluation.
    pub(crate) draw: Option<Draw>,
}

/// The values on both sides of a layer.
#[derive(Debug)]
pub(crate) struct Forward<'a> {
    /// The examples of the batch to compute.
    pub(crate) examples: Range<usize>,
    /// The inputs of these examples, one after the other.
    pub(crate) inputs: &'a [f32],
    /// The outputs of these examples, to be overwritten.
    pub(crate) outputs: &'a mut [f32],
}

/// The values and deltas on both sides of a layer. A delta is the derivative of the batch's loss.
#[derive(Debug)]
pub(crate) struct Backward<'a> {
    /// The examples of the batch to compute.
    pub(crate) examples: Range<usize>,
    /// The inputs of these examples.
    pub(crate) inputs: &'a [f32],
    /// The outputs of these examples.
    pub(crate) outputs: &'a [f32],
    /// The deltas of the outputs.
    pub(crate) deltas: &'a [f32],
    /// The deltas of the inputs, to be overwritten; `None` if no layer before has variables.
    pub(crate) before: Option<&'a mut [f32]>,
}
