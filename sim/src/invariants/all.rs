//! All rules, asked in one order.

use crate::invariants::At;
use crate::invariants::Invariant;
use crate::invariants::bounded::Bounded;
use crate::invariants::checkpoints_are_cuts::CheckpointsAreCuts;
use crate::invariants::clean_end::CleanEnd;
use crate::invariants::exactly_r::ExactlyR;
use crate::invariants::fencing::Fencing;
use crate::invariants::fixed_order::FixedOrder;
use crate::invariants::idempotent::Idempotent;
use crate::invariants::invariant::End;
use crate::invariants::nobody_waits_unseen::NobodyWaitsUnseen;
use crate::invariants::stale_is_told::StaleIsTold;
use crate::invariants::violation::Violation;
use crate::invariants::which_r::WhichR;
use crate::invariants::whole_versions::WholeVersions;
use crate::world::life::LifeId;
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
