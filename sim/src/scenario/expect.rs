//! The expected result of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use unisono_core::{Step, TaskId};

use super::keys::*;
use super::range::Range;
use unisono_observe::trace::EventKind;

table! {
    /// The expected result of a run. The rules of the protocol are checked in any case.
    Section "expect" Check; pub struct Expect {
        /// The outcome of the run.
        outcome: ExpectedOutcome = ExpectedOutcome::Finished,
        /// The version of the last checkpoint.
        final_step: Option<Step> = None; "`training_steps` if the run finishes, else any",
        /// The reference run with which losses and checkpoints are compared, bit for bit. With
        /// `"none"`, nothing is compared.
        oracle: Option<Oracle>[OR_NONE] = Some(Oracle::Serial);
            "`\"serial\"`; `\"provenance\"` if R may be below N; `\"none\"` if any outcome will do",
        /// The path of a `losses.csv` of another run, which must equal the losses of this run. The
        /// path is relative to the scenario file.
        golden: Option<PathBuf> = None; "none",
        /// The number of gradients of every update, for readers of the file. The value must be R.
        gradients_per_update: Option<u32> = None; "R",
        /// The number of gradients that were answered as duplicates.
        duplicates: Option<Range<u64>> = None; "any",
        /// The number of gradients that were answered as stale.
        stale: Option<Range<u64>> = None; "any",
        /// The number of gradients that were answered as fenced.
        fenced: Option<Range<u64>> = None; "any",
        /// The number of generations after the first.
        rollbacks: Option<Range<u64>> = None; "any",
        /// The number of tasks that still wait after all other tasks have ended. A task may only
        /// wait if the task started after another had finished, or if a fault disturbed the end of
        /// the run.
        left_behind: Option<Range<u64>> = None; "any",
        /// The virtual time of the whole run.
        virtual_time: Option<Range<Duration>> = None; "any",
        /// Events that must happen, or must not happen.
        events as "event": Vec<ExpectedEvent> = Vec::new(),
    }
}

/// A line of a scenario file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub path: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The line without the space around it.
    pub text: String,
}

/// The lines of a scenario file that state expectations. The key of the map is the key of
/// `[expect]`, or `event N` for the N-th `[[expect.event]]`, counted from 0. A default expectation
/// has no line.
///
/// Two values of this type are always equal, because the lines are only used in reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// Records the line of an expectation.
    pub(super) fn note(&mut self, key: impl Into<String>, place: Place) {
        self.0.insert(key.into(), place);
    }

    /// Returns the line of an expectation.
    pub(crate) fn of(&self, key: &str) -> Option<&Place> {
        self.0.get(key)
    }

    /// Returns the key of the `number`-th `[[expect.event]]`.
    pub(crate) fn event_key(number: usize) -> String {
        format!("event {number}")
    }
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, text } = self;
        write!(f, "{path}:{line}: {text}")
    }
}

tagged! {
    /// The outcome of a run.
    #[derive(Eq)]
    pub enum ExpectedOutcome by pub(crate) Outcome: "outcome" {
        /// Every task that is alive has finished.
        Finished = "finished"
        /// Some task halts with a failure.
        Failed = "failed" {
            /// A part of the failure's text.
            because: String,
        }
        /// The run finishes or fails.
        Any = "any"
    }
}

impl ExpectedOutcome {
    /// Returns whether the run is expected to fail.
    pub(crate) const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

choices! {
    /// The reference run with which losses and checkpoints are compared.
    pub enum Oracle: "oracle" {
        /// The same training in one loop, without a protocol. This run exists only for R ≥ N.
        Serial = "serial",
        /// The same training in one loop, with the slots that the run's ledgers name for each
        /// update.
        Provenance = "provenance",
    }
}

table! {
    /// An event that must happen, or must not happen.
    #[derive(Eq)]
    Tables "expect.event" Check; pub struct ExpectedEvent {
        /// The kind of event.
        event: EventKind,
        /// The task of the event.
        node: Option<TaskId> = None; "any task",
        /// The step of the event.
        step: Option<Step> = None; "any",
        /// The number of such events; 0 is never.
        times: Range<u64> = Range { min: 1, max: u64::MAX },
    }
}

tagged_field!(ExpectedOutcome);
