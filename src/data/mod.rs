//! Where examples come from, and in which order a slot draws them.

mod examples;

pub use examples::Examples;
