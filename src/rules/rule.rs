//! The interface of a rule: the turns that it checks, and what it may compare them with.

use std::collections::BTreeMap;
use std::fmt;

use unisono_core::protocol::{ClusterConfig, Outcome, Snapshot};
use unisono_core::{Cut, Slot, Step, TaskId};

use crate::history::History;
use crate::life_turn::LifeTurn;
use crate::lives::{Fate, Life, Old};
use crate::suspicions::Suspicions;
use crate::violation::Violation;

/// A rule. It sees all turns of all processes, in the order of time.
pub(crate) trait Rule: fmt::Debug + Send {
    /// Checks one turn.
    ///
    /// # Errors
    /// If the turn breaks the rule. An effect that is missing is only suspected, because a node that
    /// dies between two effects does not get to the later one.
    fn turn(&mut self, _at: &At<'_>, _suspicions: &mut Suspicions) -> Result<(), Violation> {
        Ok(())
    }

    /// Checks a run that has ended.
    ///
    /// # Errors
    /// If the run breaks the rule.
    fn end(&mut self, _end: &End<'_>, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}

/// A turn, as rules see it.
#[derive(Debug)]
pub(crate) struct At<'a> {
    pub(crate) turn: LifeTurn<'a>,
    /// The history, with this turn.
    pub(crate) history: &'a History,
    /// The state before the effects of the turn.
    pub(crate) before: Before,
}

/// The state of a process before the effects of a turn, as it follows from the history.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    /// The cut of the process's shard.
    pub(crate) stood: Option<Cut>,
    /// What must become of the gradient that the input brings.
    pub(crate) fate: Option<Fate>,
    /// Why the input must change nothing.
    pub(crate) old: Option<Old>,
    /// The newest durable checkpoint. Unlike the other fields, from before the input.
    pub(crate) durable: Option<Step>,
}

impl<'a> At<'a> {
    /// Returns what was seen of the process.
    pub(crate) fn seen(&self) -> Option<&'a Life> {
        self.history.lives.of(self.turn.life)
    }

    /// Returns a violation by the task whose turn this is.
    pub(crate) fn violation(
        &self,
        rule: u8,
        name: &'static str,
        step: Step,
        what: impl Into<String>,
    ) -> Violation {
        Violation::new(rule, name, what).at(step).of(self.turn.life.task)
    }
}

/// A run that has ended, as far as the rules need it.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The configuration of the cluster.
    pub config: &'a ClusterConfig,
    /// The outcome of each task that has ended for good.
    pub outcomes: &'a BTreeMap<TaskId, Outcome>,
    /// The rows of the losses file on the disk: step, slot and loss.
    pub losses: &'a [(Step, Slot, f32)],
    /// The newest valid checkpoint on the disk.
    pub checkpoint: Option<&'a Snapshot>,
}
