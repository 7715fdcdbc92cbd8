//! The simulated world that nodes run on: virtual time, network, clocks, the disk, the lives of
//! tasks and the effects of faults. It does not know what a run must achieve; [`crate::run`] does.
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
