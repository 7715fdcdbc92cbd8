//! Synchronous parameter-server training with reproducible results. Without backup workers, the
//! loss trajectory is a pure function of the training configuration and the data. Timing, faults,
//! threads, placement, transport and the CPU do not affect it.
//!
//! `docs/ARCHITECTURE.md` describes the architecture. In short, [`protocol`] makes all decisions,
//! [`model`] computes, [`wire`] encodes messages, [`host`] runs one loop that is generic over
//! traits, and [`tcp`] implements these traits for production.
//!
//! Every cluster must compute the same bits as the serial reference. A run of the serial reference
//! needs only a few lines:
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
//! // A different number of ps and a different SIMD level yield the same bits.
//! run.n_ps = 5;
//! let plan = Plan::new(&run, Dataset::embedded(), SimdLevel::Portable)?;
//! let mut elsewhere = Reference::new(&plan, plan.initial(None)?);
//! assert_eq!(elsewhere.update(elsewhere.default_slots())?, update);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/own_model.rs` shows how to train your own [`Model`](model::Model) on nodes that
//! communicate over TCP. To attach a dashboard, metrics or a ledger, implement [`host::Observer`].

pub mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod program;

pub use unisono_audit as audit;
pub use unisono_certs as certs;
pub use unisono_config as config;
pub use unisono_core::network as layers;
pub use unisono_core::{
    Cut, Floats, Generation, Incarnation, Job, LinkId, Moment, Slot, Step, TaskId,
};
pub use unisono_core::{floats, host, ids, protocol, random, time, train_config, wire};
pub use unisono_datasets as datasets;
pub use unisono_files::{checkpoint, disk, losses, run_files};
pub use unisono_learn::{
    DataSource, Setup, Workload, WorkloadError, check_model, data, model, network, training,
};
pub use unisono_metrics as metrics;
pub use unisono_net::tcp;
pub use unisono_observe::{events, ledger, report, trace};
pub use unisono_task::in_process;
pub use unisono_tensors as tensors;
