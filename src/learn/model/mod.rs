//! The arithmetic: initial values, the gradient of the model, the mean over slots, the update.
//!
//! `docs/arithmetic.md` defines the bits of every result. This module does not use messages, clocks
//! or threads.

pub mod accuracy;
mod aligned;
pub mod blocks;
mod elementary;
mod elementwise;
pub mod initial;
mod inputs;
mod lanes;
pub mod layout;
mod matrix;
mod mean;
pub mod mlp;
#[expect(clippy::module_inception, reason = "one main type per file, and this one is `Model`")]
pub mod model;
mod optimizer;
mod panels;
mod portable;
mod product;
pub mod simd;
mod softmax;
mod sparse;
mod squares;
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
pub use model::{Batch, Gradient, Model, Parameters};
pub use simd::{SimdError, SimdLevel};
pub use update::UpdateRule;
