//! One run: its start and loop, its observers, and the verdict at its end.

pub mod lab;
pub mod panics;
pub mod play;
pub mod played;
mod verdict;
mod watch;

pub use watch::Audit;
