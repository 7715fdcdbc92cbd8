//! Output about runs: reports of failures, failure capsules, and the first difference between two
//! runs.

pub mod capsule;
pub mod diff;
pub mod report;
