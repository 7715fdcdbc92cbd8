//! The production host: TCP, TLS, shared memory, and the threads for computation and storage.

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

pub mod tcp;
pub mod warnings;
