//! One run: its start, its loop, its observers, and the verdict on its result.

mod audit;
pub mod compute_cache;
mod ends;
mod expectations;
pub mod failure;
mod handled;
mod live_record;
mod oracles;
pub mod panics;
pub mod play;
pub mod played;
mod process;
pub mod unmet;
mod verdict;
mod watch;

pub use audit::Audit;
