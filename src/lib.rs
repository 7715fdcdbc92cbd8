//! Synchronous parameter-server training whose loss trajectory is a pure function of its
//! training configuration: not of timing, faults, threads, placement, transport or CPU.
//!
//! `docs/ARCHITECTURE.md` has the map. In short: [`protocol`] decides, [`model`] computes,
//! [`wire`] encodes, [`host`] runs one loop over traits, and [`tcp`] is those traits in production.
//!
//! The serial reference, which every cluster has to match to the bit, is a few lines:
//!
//! ```
//! use unisono::config::RunConfig;
//! use unisono::data::Dataset;
//! use unisono::model::SimdLevel;
//! use unisono::training::Plan;
//! use unisono::training::reference::Reference;
//!
//! let mut run = RunConfig::default(); // two ps, two workers, the original's model
//! run.train.hidden = vec![16];
//! run.train.batch_size = 20;
//! let plan = Plan::new(&run, Dataset::embedded(), SimdLevel::detect())?;
//! let mut reference = Reference::new(&plan, plan.initial(None)?);
//!
//! let update = reference.update(reference.default_slots())?;
//! assert_eq!(update.losses.len(), 2); // one for each slot of the step
//! assert_eq!(reference.step(), unisono::Step(1));
//!
//! // Another number of ps, another SIMD level, another machine: the same bits.
//! run.n_ps = 5;
//! let plan = Plan::new(&run, Dataset::embedded(), SimdLevel::Portable)?;
//! let mut elsewhere = Reference::new(&plan, plan.initial(None)?);
//! assert_eq!(elsewhere.update(elsewhere.default_slots())?, update);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/own_model.rs` trains a [`Model`](model::Model) of one's own, on nodes over TCP;
//! [`host::Observer`] is where a dashboard, metrics or a ledger hang.

pub mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod program;

pub use unisono_audit as audit;
pub use unisono_certs as certs;
pub use unisono_config as config;
pub use unisono_core::{
    Cut, Floats, Generation, Incarnation, Job, LinkId, Moment, Slot, Step, TaskId,
};
pub use unisono_core::{floats, host, ids, protocol, random, time, train_config, wire};
pub use unisono_files::{checkpoint, disk, losses, run_files};
pub use unisono_learn::{Setup, Workload, WorkloadError, data, model, training};
pub use unisono_metrics as metrics;
pub use unisono_net::tcp;
pub use unisono_observe::{events, ledger, report, trace};
pub use unisono_task::in_process;
pub use unisono_tensors as tensors;
