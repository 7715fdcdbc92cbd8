//! The interface of a rule: the turns that a rule checks, and the values with which a rule compares
//! a turn. A turn is one handled input with its effects.

use std::collections::BTreeMap;
use std::fmt;

use unisono_core::protocol::{ClusterConfig, Outcome, Snapshot};
use unisono_core::{Cut, Slot, Step, TaskId};

use crate::history::History;
use crate::life_turn::LifeTurn;
use crate::lives::{Fate, Life, Old};
use crate::suspicions::Suspicions;
use crate::violation::Violation;

/// A rule, which checks the turns of all processes in the order of time.
pub(crate) trait Rule: Send {
    /// Checks one turn.
    ///
    /// # Errors
    /// Returns an error if the turn breaks the rule. A missing effect only makes the process
    /// suspected, because a node that dies between two effects does not carry out the later effect.
    fn turn(&mut self, _at: &mut At<'_>) -> Result<(), Violation> {
        Ok(())
    }

    /// Checks a run that has ended.
    ///
    /// # Errors
    /// Returns an error if the run breaks the rule.
    fn end(&mut self, _end: &End<'_>, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}

/// A rule that remembers nothing between turns is a function.
impl<F: Send + FnMut(&mut At<'_>) -> Result<(), Violation>> Rule for F {
    fn turn(&mut self, at: &mut At<'_>) -> Result<(), Violation> {
        self(at)
    }
}

impl fmt::Debug for dyn Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rule")
    }
}

/// A turn, and the values with which rules compare the turn.
#[derive(Debug)]
pub(crate) struct At<'a> {
    pub(crate) turn: LifeTurn<'a>,
    /// The history, including this turn.
    pub(crate) history: &'a History,
    /// The violations that are only suspected.
    pub(crate) suspicions: &'a mut Suspicions,
    /// The state before the effects of the turn.
    pub(crate) before: Before,
}

/// The state of a process after the input and before the effects of a turn, derived from the
/// history.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    /// The generation and step of the process's shard.
    pub(crate) stood: Option<Cut>,
    /// The required treatment of the gradient in the input, if the input is a push.
    pub(crate) fate: Option<Fate>,
    /// The reason why the input must change nothing, if the input is outdated.
    pub(crate) old: Option<Old>,
    /// The step of the newest checkpoint that was durable before the input.
    pub(crate) durable: Option<Step>,
}

impl<'a> At<'a> {
    /// Returns the state of the process, derived from its inputs and effects.
    pub(crate) fn seen(&self) -> Option<&'a Life> {
        self.history.lives.of(self.turn.life)
    }

    /// Returns a violation by the task that has handled the input of this turn.
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

/// The results of a run that has ended, as far as the rules check them.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The configuration of the cluster.
    pub config: &'a ClusterConfig,
    /// The outcome of each task that has halted and does not restart.
    pub outcomes: &'a BTreeMap<TaskId, Outcome>,
    /// The rows of the losses file on the disk: step, slot and loss.
    pub losses: &'a [(Step, Slot, f32)],
    /// The newest valid checkpoint on the disk.
    pub checkpoint: Option<&'a Snapshot>,
}
