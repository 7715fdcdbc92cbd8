//! Exact transitions: one node, an input, and all that it wants done about it, in order.

mod chief;
mod incarnations;
mod links;
mod ps;
mod script;
mod worker;
