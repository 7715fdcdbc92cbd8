//! The deterministic simulator runs the production nodes in virtual time, over a simulated network
//! and disk.
//!
//! The simulator contains no second version of the protocol or of the arithmetic. madsim polls and
//! drops the futures of the tasks. The seed determines the order in which madsim polls futures that
//! are ready at the same time. Clocks, links and durations are events of a `Universe`, so times
//! are exact to the nanosecond.
//!
//! A scenario and a seed determine a run. A scenario is parsed from TOML, or built in code:
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
//! let caches = ComputeCaches::default(); // shared by all runs of a process
//! let played = play(&Arc::new(scenario), 7, &caches, PlayOptions::default());
//! // The run ended, broke no rule, and has the losses of the serial run, bit for bit.
//! assert_eq!(played.failure, None);
//! assert_eq!(played.losses.len(), 8 * 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/own_protocol.rs` tries out a change of the protocol. `docs/simulation.md` explains
//! scenarios, faults and the command line.

#[cfg(not(madsim))]
compile_error!(
    "unisono-sim needs `--cfg madsim`, which `.cargo/config.toml` passes; an environment RUSTFLAGS \
     replaces that file's flags, so unset it or add `--cfg madsim` to it"
);

pub mod bugs;
pub mod check;
pub mod cli;
mod durations;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod lock;
pub mod many;
pub mod record;
pub mod run;
pub mod scenario;
pub mod show;
pub mod streams;
pub mod world;

pub use self::check::Sim;
pub use self::run::play::play;
pub use crate::run::failure::Failure;
pub use crate::run::played::{Change, PlayOptions, Played};
pub use record::orders::EventOrder;
pub use run::Audit;
pub use run::compute_cache::ComputeCaches;
pub use scenario::Scenario;
pub use unisono_rules as rules;
pub use unisono_rules::LifeId;
pub use world::active_faults::FaultEffects;
