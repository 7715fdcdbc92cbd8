//! Synchronous parameter-server training whose loss trajectory is a pure function of its
//! training configuration: not of timing, faults, threads, placement, transport or CPU.
//!
//! `docs/ARCHITECTURE.md` has the map. In short: [`protocol`] decides, [`model`] computes,
//! [`wire`] encodes, [`host`] runs one loop over traits, and [`tcp`] is those traits in production.

pub mod audit;
pub mod certs;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod data;
pub mod floats;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod host;
pub mod ids;
pub mod ledger;
pub mod losses;
pub mod model;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
#[expect(unreachable_pub, reason = "with the feature it is public")]
mod planted;
pub mod protocol;
pub mod random;
pub mod report;
pub mod tcp;
pub mod time;
pub mod trace;
pub mod training;
mod warnings;
pub mod wire;

pub use floats::Floats;
pub use ids::{Cut, Generation, Incarnation, Job, LinkId, Slot, Step, TaskId};
pub use time::Moment;
