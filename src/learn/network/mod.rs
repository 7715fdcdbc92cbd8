//! Networks of layers that a configuration lists.
//!
//! `docs/arithmetic.md` defines the bits of every layer. Each file contains one kind of layer.

mod activation;
mod assembly;
mod conv2d;
mod dense;
mod dropout;
mod edge;
mod layer_norm;
mod loss;
#[expect(clippy::module_inception, reason = "one main type per file, and this one is `Network`")]
mod network;
mod operation;
mod pool;
mod shape;
mod weights;

#[cfg(feature = "benching")]
#[doc(hidden)]
pub use network::benching;

pub use assembly::ShapeError;
pub use network::Network;
