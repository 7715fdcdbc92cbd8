//! Records a run, and displays it.
//!
//! | module | content |
//! |---|---|
//! | [`ledger`] | one line for each update of a shard, with everything that the update used |
//! | [`trace`] | all events of all tasks, in real and in simulated runs |
//! | [`events`] | event files for TensorBoard |
//! | [`report`] | one HTML page that shows a run |
//! | [`counted`] | counts with units, for text |

pub mod counted;
pub mod events;
pub mod ledger;
pub mod report;
pub mod trace;
