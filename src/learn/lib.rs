//! The numbers of a run: the data, the model, the updates, and the serial reference.

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

pub mod data;
pub mod model;
pub mod training;
