//! Output about runs: reports of failures, capsules, and the first difference of two runs.

pub mod capsule;
pub mod diff;
pub mod report;
