//! Where examples come from, and in which order a slot draws them.

mod examples;
mod order;
mod permutation;

pub use examples::Examples;
pub use order::{BatchOrder, Batches};
pub use permutation::permutation;
