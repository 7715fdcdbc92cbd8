//! The simulated world in which nodes run: virtual time, network, clocks, the disk, the
//! incarnations of tasks, and the effects of faults. [`crate::run`] checks the result of a run.
//!
//! `limits.md` in this folder lists the limits of the real host and their counterparts here.

pub(crate) mod active_faults;
mod agenda;
mod clock;
pub mod disk;
mod fault_effects;
pub(crate) mod files;
mod flight;
pub(crate) mod host;
pub(crate) mod life;
pub(crate) mod network;
pub(crate) mod state;
mod transport;
pub(crate) mod universe;
