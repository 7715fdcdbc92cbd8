//! Violations by a missing effect. A node that dies while it handles an input may not have reached
//! the effect, so the violation counts only once the node handles another input.

use std::collections::BTreeMap;

use crate::life_id::LifeId;
use crate::violation::Violation;

/// The suspected violation of each process. The violation counts once the process handles another
/// input, or the run ends.
#[derive(Debug, Default)]
pub(crate) struct Suspicions(BTreeMap<LifeId, Violation>);

impl Suspicions {
    /// Suspects a process of a violation. If the process is suspected already, the earlier
    /// violation is kept.
    pub(crate) fn suspect(&mut self, life: LifeId, violation: Violation) {
        self.0.entry(life).or_insert(violation);
    }

    /// Reports the suspected violation of a process, because the process handles another input
    /// without having carried out the missing effect.
    pub(crate) fn confirm(&mut self, life: LifeId) -> Result<(), Violation> {
        if self.0.is_empty() { Ok(()) } else { self.0.remove(&life).map_or(Ok(()), Err) }
    }

    /// Forgets the violation of a process that was killed.
    pub(crate) fn acquit(&mut self, life: LifeId) {
        self.0.remove(&life);
    }

    /// Reports one of the suspected violations, because the run has ended.
    pub(crate) fn confirm_all(&mut self) -> Result<(), Violation> {
        self.0.pop_first().map_or(Ok(()), |(_, violation)| Err(violation))
    }
}
