//! Records and displays of a run.
//!
//! | module | content |
//! |---|---|
//! | [`ledger`] | what every update of a shard used, one line each |
//! | [`trace`] | all events of all tasks, in real and in simulated runs |
//! | [`events`] | event files for TensorBoard |
//! | [`report`] | one HTML page that shows a run |
//! | [`counted`] | counts with units, for text |

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

pub mod counted;
pub mod events;
pub mod ledger;
pub mod report;
pub mod trace;
