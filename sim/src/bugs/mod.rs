//! Bugs to plant, as patches for a copy of the tree: no line of production code exists for a bug.

pub mod weave;
