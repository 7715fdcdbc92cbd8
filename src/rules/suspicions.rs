//! Effects that a node owes. A node that dies during a turn may not get to an effect, so the node is
//! blamed only once it takes another input.

use std::collections::BTreeMap;

use crate::life_id::LifeId;
use crate::violation::Violation;

/// Violations that count once their process takes another input, or the run ends.
#[derive(Debug, Default)]
pub(crate) struct Suspicions(BTreeMap<LifeId, Violation>);

impl Suspicions {
    /// Suspects a process. Its first violation is kept.
    pub(crate) fn suspect(&mut self, life: LifeId, violation: Violation) {
        self.0.entry(life).or_insert(violation);
    }

    /// Reports the violation that a process is suspected of, because the process takes another
    /// input before it has mended it.
    pub(crate) fn confirm(&mut self, life: LifeId) -> Result<(), Violation> {
        if self.0.is_empty() { Ok(()) } else { self.0.remove(&life).map_or(Ok(()), Err) }
    }

    /// Forgets the violation of a process that was killed.
    pub(crate) fn acquit(&mut self, life: LifeId) {
        self.0.remove(&life);
    }

    /// Reports a violation of a run that has ended.
    pub(crate) fn confirm_all(&mut self) -> Result<(), Violation> {
        self.0.pop_first().map_or(Ok(()), |(_, violation)| Err(violation))
    }
}
