//! What a rule is asked, and what it may look at.

use crate::history::History;
use crate::life_id::LifeId;
use crate::lives::Fate;
use crate::lives::life::Life;
use crate::violation::Violation;
use std::fmt;
use unisono_core::protocol::{ClusterConfig, Effect, Input, Outcome};
use unisono_core::{Moment, TaskId};

/// A rule, watched over a whole run. It sees every life's inputs and effects, in the order of
/// virtual time, and touches nothing.
pub trait Invariant: fmt::Debug + Send {
    /// A node is about to take an input.
    ///
    /// # Errors
    /// How the rule is broken.
    fn before(&mut self, _at: &At<'_>, _input: &Input) -> Result<(), Violation> {
        Ok(())
    }

    /// A node has taken the input, and wants this done. If it dies on the way, `effects` are only
    /// those that will be done.
    ///
    /// # Errors
    /// How the rule is broken.
    fn after(
        &mut self,
        _at: &At<'_>,
        _input: &Input,
        _effects: &[Effect],
    ) -> Result<(), Violation> {
        Ok(())
    }

    /// A life was killed.
    fn killed(&mut self, _life: LifeId) {}

    /// The run is over.
    ///
    /// # Errors
    /// How the rule is broken.
    fn end(&mut self, _end: &End<'_>) -> Result<(), Violation> {
        Ok(())
    }
}

/// Where and when something happens.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// What the node's clock says.
    pub moment: Moment,
    /// To which life of which task.
    pub life: LifeId,
    /// The cluster that it is in.
    pub config: &'a ClusterConfig,
    /// All that was made so far.
    pub history: &'a History,
}

impl<'a> At<'a> {
    /// What was seen of the life so far.
    #[must_use]
    pub fn seen(&self) -> Option<&'a Life> {
        self.history.lives.of(self.life)
    }

    /// What must become of the gradient that the input brings to the life, if it brings one.
    pub(crate) fn fate(&self, input: &Input) -> Option<Fate> {
        let life = self.seen()?;
        life.pushed(input).map(|pushed| life.shard.fate(self.config, &pushed))
    }
}

impl fmt::Debug for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At").field("moment", &self.moment).field("life", &self.life).finish()
    }
}

/// How a run ended, as far as rules are about it.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The cluster.
    pub config: &'a ClusterConfig,
    /// All that was made.
    pub history: &'a History,
    /// How each task did that has ended for good.
    pub outcomes: &'a std::collections::BTreeMap<TaskId, Outcome>,
    /// The rows of the losses file, as they are on the disk: step, slot, loss.
    pub losses: &'a [(unisono_core::Step, unisono_core::Slot, f32)],
    /// The newest valid checkpoint on the disk, if any.
    pub checkpoint: Option<&'a unisono_core::protocol::Snapshot>,
}
