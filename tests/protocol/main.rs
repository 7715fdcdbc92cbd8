//! The protocol core with no runtime at all: nodes, queues, and every fault that a list of random
//! choices can make.

mod arithmetic;
mod safety;
mod world;
