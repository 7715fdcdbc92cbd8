//! The options of a run, and its result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use unisono_core::protocol::{Node, Outcome, Snapshot};
use unisono_core::{Slot, Step, TaskId};
use unisono_observe::ledger::Ledger;
use unisono_observe::trace::EventKind;

use crate::record::orders::EventOrder;
use crate::record::trace::Trace;
use crate::run::audit::Audit;
use crate::run::failure::Failure;
use crate::run::unmet::Unmet;
use crate::world::active_faults::FaultEffects;

/// A function that replaces the node of a task, usually by a wrapper around the node.
pub type Change = fn(TaskId, Box<dyn Node>) -> Box<dyn Node>;

/// Options of a run.
#[derive(Clone, Copy, Debug)]
pub struct PlayOptions {
    /// Whether to record every event. A run with a trace is slower, but its failure can be
    /// explained. Default: `false`.
    pub trace: bool,
    /// The maximum wall-clock time of a run. Default: 60 s. A run that takes longer is reported as
    /// [`Failure::Stuck`]. Wall-clock time is needed because virtual time does not advance while a
    /// node loops.
    pub watchdog: Duration,
    /// A change of the protocol to try out, as in `examples/own_protocol.rs`. Default: none.
    pub change: Option<Change>,
    /// The bug to plant in all nodes. Default: none.
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

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// The seed.
    pub seed: u64,
    /// The failure of the run; `None` if the run passed. If several checks fail, the order of the
    /// checks in `verdict.rs` decides which failure is stored.
    pub failure: Option<Failure>,
    /// The expectations of the scenario that the run did not meet. The list is empty if a rule is
    /// broken, a node panicked, a checkpoint is invalid or the run did not end, because
    /// expectations are not checked then.
    pub unmet: Vec<Unmet>,
    /// The outcome of each task that ended and was not restarted.
    pub outcomes: BTreeMap<TaskId, Outcome>,
    /// Tasks that were still waiting at the end of the run for a permitted reason: the task started
    /// after another task had finished, or a fault disturbed the end of the run.
    pub left_behind: Vec<TaskId>,
    /// The virtual time at which the last task ended.
    pub took: Duration,
    /// Number of events of the simulated world.
    pub n_events: u64,
    /// The hash of all events, with the times of the events.
    pub audit: Audit,
    /// The hash of the order of events at each task, without the times of the events.
    pub order: EventOrder,
    /// The effects of each fault, in the order of the scenario.
    pub faults: Vec<FaultEffects>,
    /// The number of events by kind. A kind of event that never happened has no entry.
    pub counts: Vec<(EventKind, u64)>,
    /// Number of generations that the chief opened. Each generation except the first is a rollback.
    pub n_generations: u64,
    /// The rows of the losses file on the disk.
    pub losses: Vec<(Step, Slot, f32)>,
    /// The newest valid checkpoint on the disk.
    pub checkpoint: Option<Arc<Snapshot>>,
    /// The ledger of each ps that started, ordered by the index of the ps.
    pub ledgers: Vec<Ledger>,
    /// Every event, if [`PlayOptions::trace`] was set.
    pub trace: Option<Trace>,
}
