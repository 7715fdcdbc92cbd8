//! What must always hold: one file for each rule of `docs/protocol.md`.
//!
//! | rule | file | checked |
//! |---|---|---|
//! | – | `history` | what is made twice has the same bits, also in another generation if R ≥ N |
//! | 1 | `exactly_r` | an update is of R gradients of its version and shard, the slots of all shards the same |
//! | 2 | `which_r` | the slots are all, or the first R that ps 0 learns every shard holds |
//! | 3 | `fixed_order` | an update is given its gradients ascending by slot |
//! | 4 | `idempotent` | a push is what was computed under its name; a copy is said to be one, nothing else is |
//! | 5 | `stale_is_told` | what is not used is counted and answered; what is held is used or counted |
//! | 6 | `whole_versions` | a gradient is computed at one version of every shard, and a version sent is one that was made |
//! | 7 | `checkpoints_are_cuts` | a checkpoint is the states at one cut with its losses; what is restored was saved |
//! | 8 | `fencing` | older lives, closed links and older generations change nothing |
//! | 9 | `nobody_waits_unseen` | who waits says so in time; who is silent is parted from in time |
//! | 10 | `clean_end` | exactly so many updates; nobody speaks of the end before it is durable; the files are whole |
//! | 11 | `bounded` | a window of pushes a link; no honest task is cut off for not reading |
//!
//! A rule is about what a node does, not about what it is: all that it knows of one follows from its
//! inputs and effects (`lives`), all that it compares with from what was made before (`history`).

mod files;
#[cfg(test)]
mod fixture;
mod history;
mod kept;
mod lives;
mod suspicions;
pub(crate) mod unmet;
mod violation;

mod bounded;
mod checkpoints_are_cuts;
mod clean_end;
mod exactly_r;
mod fencing;
mod fixed_order;
mod idempotent;
mod nobody_waits_unseen;
mod stale_is_told;
mod which_r;
mod whole_versions;

use std::fmt;
use std::time::Duration;

use unisono::protocol::{ClusterConfig, Effect, Input, Node, Outcome};
use unisono::{LinkId, Moment, TaskId};

pub use files::Files;
pub use history::{Gradient, History, Origin, Stamp, Version};
pub use kept::{Kept, KeptState};
pub use lives::{Held, Life, Lives, Session, Shard, Work};
pub use violation::{Difference, Violation};

use bounded::Bounded;
use checkpoints_are_cuts::CheckpointsAreCuts;
use clean_end::CleanEnd;
use exactly_r::ExactlyR;
use fencing::Fencing;
use fixed_order::FixedOrder;
use idempotent::Idempotent;
use lives::Fate;
use nobody_waits_unseen::NobodyWaitsUnseen;
use stale_is_told::StaleIsTold;
use which_r::WhichR;
use whole_versions::WholeVersions;

use crate::world::life::LifeId;
use crate::world::universe::Universe;

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
    /// The time that has passed in the universe.
    pub now: Duration,
    /// What the node's clock says.
    pub moment: Moment,
    /// To which life of which task.
    pub life: LifeId,
    /// The node itself, after the input; `None` before it.
    pub node: Option<&'a dyn Node>,
    /// The cluster that it is in.
    pub config: &'a ClusterConfig,
    /// All that was made so far.
    pub history: &'a History,
    /// Where links are known.
    pub universe: &'a Universe,
}

impl<'a> At<'a> {
    /// What was seen of the life so far.
    #[must_use]
    pub fn seen(&self) -> Option<&'a Life> {
        self.history.lives.of(self.life)
    }

    /// The life at the other end of one of this life's links.
    #[must_use]
    pub fn peer(&self, link: LinkId) -> Option<LifeId> {
        self.universe.peer(link, self.life)
    }

    /// What must become of the gradient that the input brings to the life, if it brings one.
    fn fate(&self, input: &Input) -> Option<Fate> {
        let life = self.seen()?;
        life.pushed(input).map(|pushed| life.shard.fate(self.config, &pushed))
    }
}

impl fmt::Debug for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At").field("now", &self.now).field("life", &self.life).finish()
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
    pub losses: &'a [(unisono::Step, unisono::Slot, f32)],
    /// The newest valid checkpoint on the disk, if any.
    pub checkpoint: Option<&'a unisono::protocol::Snapshot>,
}

/// All rules, with what they know of a run.
#[derive(Debug)]
pub struct Invariants {
    rules: Vec<Box<dyn Invariant>>,
}

impl Invariants {
    /// All of them, at the beginning of a run.
    #[must_use]
    pub fn all() -> Self {
        Self {
            rules: vec![
                Box::<ExactlyR>::default(),
                Box::<WhichR>::default(),
                Box::<FixedOrder>::default(),
                Box::<Idempotent>::default(),
                Box::<StaleIsTold>::default(),
                Box::<WholeVersions>::default(),
                Box::<CheckpointsAreCuts>::default(),
                Box::<Fencing>::default(),
                Box::<NobodyWaitsUnseen>::default(),
                Box::<CleanEnd>::default(),
                Box::<Bounded>::default(),
            ],
        }
    }

    /// Asks every rule.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn before(&mut self, at: &At<'_>, input: &Input) -> Result<(), Violation> {
        self.rules.iter_mut().try_for_each(|rule| rule.before(at, input))
    }

    /// Asks every rule.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn after(
        &mut self,
        at: &At<'_>,
        input: &Input,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        self.rules.iter_mut().try_for_each(|rule| rule.after(at, input, effects))
    }

    /// Tells every rule.
    pub fn killed(&mut self, life: LifeId) {
        self.rules.iter_mut().for_each(|rule| rule.killed(life));
    }

    /// Asks every rule.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn end(&mut self, end: &End<'_>) -> Result<(), Violation> {
        self.rules.iter_mut().try_for_each(|rule| rule.end(end))
    }
}
