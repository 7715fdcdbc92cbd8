//! What must come of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use unisono_core::{Step, TaskId};

use super::Range;
use unisono_observe::trace::EventKind;

/// What must come of a run. The rules of the protocol hold whatever is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// How the run ends.
    pub outcome: ExpectedOutcome,
    /// The version of the last checkpoint; `None` is `training_steps` if the run finishes, and
    /// anything otherwise.
    pub final_step: Option<Step>,
    /// What the losses and the last checkpoint are compared with, to the bit.
    pub oracle: Option<Oracle>,
    /// A `losses.csv` made elsewhere, that the run's must equal.
    pub golden: Option<PathBuf>,
    /// Gradients of every update. R, whatever this says; here to be read, and checked to be R.
    pub gradients_per_update: Option<u32>,
    /// Gradients answered as duplicates.
    pub duplicates: Option<Range<u64>>,
    /// Gradients answered as stale.
    pub stale: Option<Range<u64>>,
    /// Gradients answered as fenced.
    pub fenced: Option<Range<u64>>,
    /// Generations opened after the first.
    pub rollbacks: Option<Range<u64>>,
    /// Tasks that wait for the others when these have left for good. Only one that was away at the
    /// end may.
    pub left_behind: Option<Range<u64>>,
    /// The virtual time of the whole run.
    pub virtual_time: Option<Range<Duration>>,
    /// `[[expect.event]]`.
    pub events: Vec<ExpectedEvent>,
    /// Where the file states each of these.
    pub places: Places,
}

/// A line of a scenario file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub path: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The line, without the space around it.
    pub text: String,
}

/// Where a file states its expectations, by the key of `[expect]`, or by `event N` for the N-th
/// `[[expect.event]]`, counted from 0. What a default expects stands nowhere.
///
/// A place is only for a person: scenarios that differ in nothing else are equal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// Notes where an expectation stands.
    pub(super) fn note(&mut self, key: impl Into<String>, place: Place) {
        self.0.insert(key.into(), place);
    }

    /// Where an expectation stands.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<&Place> {
        self.0.get(key)
    }

    /// The key of the `number`-th `[[expect.event]]`.
    #[must_use]
    pub fn event_key(number: usize) -> String {
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

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// Every task that is alive at the end has finished.
    Finished,
    /// Some task halts with a failure whose text has this in it.
    Failed {
        /// A part of the text.
        because: String,
    },
    /// Nothing: whatever comes of it, the rules hold.
    Any,
}

impl ExpectedOutcome {
    /// Whether the run is to fail.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// What losses and checkpoints are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oracle {
    /// The same run in one loop, with no protocol at all: for R of N and above.
    Serial,
    /// The same, with the slots that the run chose: for R below N, where timing chooses.
    Provenance,
}

/// An event that must happen, or must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedEvent {
    /// What.
    pub event: EventKind,
    /// To whom; `None` is to anybody.
    pub node: Option<TaskId>,
    /// At which step; `None` is at any.
    pub step: Option<Step>,
    /// How often, at least and at most; `1..` if the file does not say.
    pub times: Range<u64>,
}
