//! All rules, asked in one order.

use crate::At;
use crate::Invariant;
use crate::bounded::Bounded;
use crate::checkpoints_are_cuts::CheckpointsAreCuts;
use crate::clean_end::CleanEnd;
use crate::exactly_r::ExactlyR;
use crate::fencing::Fencing;
use crate::fixed_order::FixedOrder;
use crate::idempotent::Idempotent;
use crate::invariant::End;
use crate::life_id::LifeId;
use crate::nobody_waits_unseen::NobodyWaitsUnseen;
use crate::stale_is_told::StaleIsTold;
use crate::violation::Violation;
use crate::which_r::WhichR;
use crate::whole_versions::WholeVersions;
use unisono_core::protocol::{Effect, Input};

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
