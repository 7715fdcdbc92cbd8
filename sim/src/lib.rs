//! The simulator host: Unisono's own nodes on madsim's executor, in a time and on a network of
//! our own making.
//!
//! Nothing of the protocol or the arithmetic is written again here. madsim runs the futures, kills
//! them, and picks in a seeded order among those that are ready; the clock, the links and what is
//! slow are events of a [`Universe`], so that a moment is exact to the nanosecond.
//!
//! A scenario is a TOML text, or made piece by piece; a seed makes a run of it:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use unisono_sim::{ComputeCaches, PlayOptions, Scenario, play};
//!
//! let text = r#"
//!     [cluster]
//!     workers = 3
//!
//!     [[fault]]
//!     id = "ps 1 loses its memory"
//!     kind = "crash"
//!     node = "ps 1"
//!     at_step = 4
//!     for = "20ms"
//!
//!     [expect]
//!     oracle = "serial"
//! "#;
//! let mut scenario = Scenario::parse(text, "crash.toml")?;
//! scenario.run.train.training_steps = 8;
//! scenario.limits.save_interval = Duration::from_millis(5);
//!
//! let caches = ComputeCaches::default(); // shares the arithmetic of runs
//! let played = play(&Arc::new(scenario), 7, &caches, PlayOptions::default());
//! // It ended, by the rules, with the losses of the serial run, to the bit.
//! assert_eq!(played.failure, None);
//! assert_eq!(played.losses.len(), 8 * 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/own_protocol.rs` tries a change of the protocol; `docs/simulation.md` explains all else.

#[cfg(not(madsim))]
compile_error!(
    "unisono-sim needs `--cfg madsim`, which `.cargo/config.toml` passes; an environment RUSTFLAGS \
     replaces that file's flags, so unset it or add `--cfg madsim` to it"
);

pub mod cli;
mod counted;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod invariants;
mod lock;
pub mod many;
pub mod record;
pub mod run;
pub mod scenario;
pub mod show;
pub mod streams;
pub mod world;

pub use self::run::play::play;
pub use crate::run::failure::Failure;
pub use crate::run::played::{Change, PlayOptions, Played};
pub use record::orders::EventOrder;
pub use run::Audit;
pub use run::compute_cache::ComputeCaches;
pub use scenario::Scenario;
pub use world::active_faults::FaultEffects;
pub use world::life::LifeId;
pub use world::universe::Universe;
