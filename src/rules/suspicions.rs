//! What a node should have done and was not seen to do. A node that dies on the way did not get to
//! it: it is blamed only once it lives on.

use std::collections::BTreeMap;

use super::Violation;
use crate::life_id::LifeId;

/// Violations that stand once their life takes another input, or the run ends.
#[derive(Debug, Default)]
pub(super) struct Suspicions(BTreeMap<LifeId, Violation>);

impl Suspicions {
    /// The first one of a life is kept.
    pub(super) fn suspect(&mut self, life: LifeId, violation: Violation) {
        self.0.entry(life).or_insert(violation);
    }

    /// The life lives on.
    pub(super) fn confirm(&mut self, life: LifeId) -> Result<(), Violation> {
        if self.0.is_empty() { Ok(()) } else { self.0.remove(&life).map_or(Ok(()), Err) }
    }

    /// The life was killed, perhaps before it got to it.
    pub(super) fn acquit(&mut self, life: LifeId) {
        self.0.remove(&life);
    }

    /// The run is over.
    pub(super) fn confirm_all(&mut self) -> Result<(), Violation> {
        self.0.pop_first().map_or(Ok(()), |(_, violation)| Err(violation))
    }
}
