//! The simulator host: Unisono's own nodes on madsim's executor, in a time and on a network of
//! our own making.
//!
//! Nothing of the protocol or the arithmetic is written again here. madsim runs the futures, kills
//! them, and picks in a seeded order among those that are ready; the clock, the links and what is
//! slow are events of a [`Universe`], so that a moment is exact to the nanosecond.

#[cfg(not(madsim))]
compile_error!(
    "unisono-sim needs `--cfg madsim`, which `.cargo/config.toml` passes; an environment RUSTFLAGS \
     replaces that file's flags, so unset it or add `--cfg madsim` to it"
);

mod agenda;
pub mod capsule;
pub mod case;
pub mod chaos;
pub mod cli;
mod clock;
pub mod diff;
pub mod disk;
pub mod enumerate;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod host;
pub mod invariants;
pub mod lab;
mod life;
mod links;
mod lock;
pub mod panics;
pub mod play;
pub mod pool;
pub mod report;
pub mod scenario;
pub mod shrink;
pub mod streams;
pub mod tally;
pub mod trace;
mod universe;
mod verdict;
mod watch;

pub use lab::Labs;
pub use life::LifeId;
pub use play::{Failure, PlayOptions, Played, play};
pub use scenario::Scenario;
pub use universe::{Bites, Universe};
pub use watch::Audit;
