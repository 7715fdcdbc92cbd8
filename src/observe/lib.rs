//! Records and displays of a run.
//!
//! | module | content |
//! |---|---|
//! | [`ledger`] | what every update of a shard used, one line each |
//! | [`audit`] | checks ledgers, losses and checkpoints against the rules of the protocol |
//! | [`trace`] | all events of all tasks, in real and in simulated runs |
//! | [`events`] | event files for TensorBoard |
//! | [`report`] | one HTML page that shows a run |
//! | [`counted`] | counts with units, for text |

#[cfg(test)]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

pub mod audit;
pub mod counted;
pub mod events;
pub mod ledger;
pub mod report;
pub mod trace;
