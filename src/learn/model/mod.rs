//! The arithmetic: initial values, the gradient of the model, the mean over slots, the update.
//!
//! `docs/arithmetic.md` defines the bits of every result. This module does not use messages, clocks
//! or threads.

pub mod accuracy;
pub(crate) mod aligned;
pub mod blocks;
pub(crate) mod elementary;
pub(crate) mod elementwise;
pub mod initial;
mod inputs;
pub(crate) mod lanes;
pub mod layout;
pub(crate) mod matrix;
mod mean;
pub mod mlp;
#[expect(clippy::module_inception, reason = "one main type per file, and this one is `Model`")]
pub mod model;
mod optimizer;
mod panels;
mod portable;
pub(crate) mod product;
pub mod simd;
pub(crate) mod softmax;
mod sparse;
pub(crate) mod squares;
#[cfg(test)]
#[path = "../../../tests/unit/kernels.rs"]
mod testing;
pub mod update;
mod workspace;

#[cfg(feature = "benching")]
#[doc(hidden)]
pub use workspace::benching;

pub use accuracy::accuracy;
pub use layout::{Layout, Piece, Variable};
pub use mlp::Mlp;
pub use model::{Batch, Draw, Gradient, Model, Parameters};
pub use simd::{SimdError, SimdLevel};
pub use update::UpdateRule;
