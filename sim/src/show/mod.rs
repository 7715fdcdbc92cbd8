//! What a person or a later command reads of runs: reports of failures, capsules and differences.

pub mod capsule;
pub mod diff;
pub mod report;
