//! Every kind of fault does what its documentation says. The tests observe small runs from outside,
//! in which all times are known to the nanosecond.
//!
//! Unless a test says otherwise, each run passes, with the losses of the serial run.

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

/// The default latency of a message.
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
