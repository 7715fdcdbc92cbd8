//! What is played, and what came of it: options, results and failures of a run.

use crate::invariants::Violation;
use crate::record::orders::EventOrder;
use crate::record::trace::Trace;
use crate::run::watch::Audit;
use crate::world::active_faults::Bites;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use unisono_core::host::{Compute, Network, Stop, Storage};
use unisono_core::protocol::{Node, Outcome, Snapshot};
use unisono_core::{Slot, Step, TaskId};
use unisono_observe::ledger::Ledger;
use unisono_observe::trace::EventKind;

/// What a task runs instead of its node: that node in a wrapper, or as it is.
pub type Change = fn(TaskId, Box<dyn Node>) -> Box<dyn Node>;

/// How to play.
#[derive(Clone, Copy, Debug)]
pub struct PlayOptions {
    /// Keep everything that happens: slower, and the failure can be told.
    pub trace: bool,
    /// The longest that a run may take by the wall clock: one that never comes back is a livelock.
    pub watchdog: Duration,
    /// A change of the protocol that is to be tried; `examples/own_protocol.rs` is one.
    pub change: Option<Change>,
    /// The bug to plant.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<unisono_core::planted::Bug>,
}

impl Default for PlayOptions {
    fn default() -> Self {
        Self {
            trace: false,
            watchdog: Duration::from_secs(60),
            change: None,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Played {
    /// The seed.
    pub seed: u64,
    /// What is wrong with it, if anything.
    pub failure: Option<Failure>,
    /// Every expectation of the scenario that the run did not meet. None is known if a rule is
    /// broken or the run does not end.
    pub unmet: Vec<Violation>,
    /// How each task ended, of those that did.
    pub outcomes: BTreeMap<TaskId, Outcome>,
    /// Tasks that came, or came back, when the others had left: they wait, and say so.
    pub left_behind: Vec<TaskId>,
    /// The virtual time at which the last task ended.
    pub took: Duration,
    /// Events of the universe.
    pub n_events: u64,
    /// A hash of everything that happened.
    pub audit: Audit,
    /// A hash of the order of events at each task, whenever they happened.
    pub order: EventOrder,
    /// What each fault did.
    pub faults: Vec<Bites>,
    /// How often each kind of event happened; none that did not.
    pub counts: Vec<(EventKind, u64)>,
    /// Generations that were opened.
    pub n_generations: u64,
    /// The losses file as it is on the disk.
    pub losses: Vec<(Step, Slot, f32)>,
    /// The newest valid checkpoint on the disk.
    pub checkpoint: Option<Arc<Snapshot>>,
    /// The ledger of each ps that began to live, ascending.
    pub ledgers: Vec<Ledger>,
    /// Everything that happened, if it was asked for.
    pub trace: Option<Trace>,
}

/// What is wrong with a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// A rule is broken, the result is wrong, or not what the scenario expects.
    Violation(Violation),
    /// Nothing was going on any more, or too much, and the run did not end.
    Hang(String),
    /// A node panicked.
    Panic(String),
    /// A fault never bit, though it should have.
    Inert {
        /// The fault's id.
        fault: String,
        /// What is known of why.
        why: String,
    },
    /// The run did not come back within the watchdog's time.
    Stuck(String),
}

impl Failure {
    /// Failures with the same signature are taken for the same.
    #[must_use]
    pub fn signature(&self) -> String {
        match self {
            Self::Violation(Violation { rule: 0, name, .. }) => (*name).to_owned(),
            Self::Violation(Violation { rule, name, .. }) => format!("rule-{rule}/{name}"),
            Self::Hang(_) => "hang".to_owned(),
            Self::Panic(what) => {
                // Without its numbers, a panic is the same at every step.
                let line = what.lines().next().unwrap_or_default();
                let text: String = line.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                format!("panic/{text}")
            }
            Self::Inert { .. } => "inert-fault".to_owned(),
            Self::Stuck(_) => "stuck".to_owned(),
        }
    }

    /// The exit code that tells it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Violation(_) => 1,
            Self::Hang(_) | Self::Stuck(_) => 3,
            Self::Panic(_) => 4,
            Self::Inert { .. } => 5,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::Hang(why) => write!(f, "the run does not end: {why}"),
            Self::Panic(what) => write!(f, "a node panicked: {what}"),
            Self::Inert { fault, why } => write!(
                f,
                "fault {fault} never bit: {why}; mend its trigger or its target, or say \
                 `may_be_inert = true`"
            ),
            Self::Stuck(why) => f.write_str(why),
        }
    }
}

impl Played {
    pub(crate) fn of_nothing(seed: u64, failure: Failure) -> Self {
        Self {
            seed,
            failure: Some(failure),
            unmet: Vec::new(),
            outcomes: BTreeMap::new(),
            left_behind: Vec::new(),
            took: Duration::ZERO,
            n_events: 0,
            audit: Audit::new(),
            order: EventOrder::default(),
            faults: Vec::new(),
            counts: Vec::new(),
            n_generations: 0,
            losses: Vec::new(),
            checkpoint: None,
            ledgers: Vec::new(),
            trace: None,
        }
    }
}
