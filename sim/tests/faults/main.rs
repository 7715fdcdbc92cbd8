//! Every kind of fault does what its documentation says: seen from outside, in small runs whose
//! moments are known to the nanosecond.
//!
//! All runs here end as they should, with the losses of the serial run, unless a test says so.

#![allow(missing_docs, reason = "a test program")]

mod disk;
mod gradients;
mod links;
mod messages;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
mod triggers;

use std::time::Duration;

use unisono_core::TaskId;

const PS_0: TaskId = TaskId::ps(0);
const PS_1: TaskId = TaskId::ps(1);
const CHIEF: TaskId = TaskId::CHIEF;
const WORKER_1: TaskId = TaskId::worker(1);

/// What a message takes where the scenario says nothing.
const LATENCY: Duration = us(100);

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
