//! Planted (deliberate) bugs. The bugs are patches for a copy of the tree, so that production code
//! contains no line for a bug.

pub mod weave;
