//! The protocol core without a runtime: nodes, message queues, and faults that a list of random
//! choices selects.

mod arithmetic;
mod safety;
mod world;
