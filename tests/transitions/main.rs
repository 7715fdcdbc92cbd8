//! Exact transitions: each test feeds inputs to one node and compares all its effects, in order.

mod chief;
mod incarnations;
mod links;
mod ps;
mod script;
mod worker;
