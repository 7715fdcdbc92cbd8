//! The history of a shard: every update of its ledger, and which of them stand.

use std::collections::BTreeMap;

use super::{Place, Rule, Violation};
use crate::ledger::line::{StateRestored, UpdateMade};
use crate::ledger::{Header, Ledger, StateHash};
use unisono_core::ids::{Generation, Step};

/// The history of a shard, as its ledger has it.
#[derive(Debug)]
pub struct Shard<'a> {
    pub(super) ledger: &'a Ledger,
    /// Every update that was made, in the order of the file.
    pub made: Vec<Made<'a>>,
    /// Every state that was given to it, in the order of the file.
    pub restored: Vec<Restored<'a>>,
    /// Where it went back to an earlier version.
    pub rollbacks: Vec<Rollback>,
    /// The lives of the ps.
    pub n_lives: usize,
    /// By step: the updates that no rollback undid.
    pub(super) stands: BTreeMap<Step, usize>,
    pub(super) header: Option<(&'a Header, usize)>,
}

/// An update, and where it is in the file.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// What the line says.
    pub update: &'a UpdateMade,
    /// The header of the life that made it.
    pub header: &'a Header,
    /// The number of its arithmetic: the same for the same one.
    pub(super) arithmetic: usize,
    /// The number of the line.
    pub line: usize,
    /// The update that made the version that it was made of, if it is in the ledger.
    pub(super) before: Option<usize>,
    pub(super) ledger: &'a Ledger,
}

/// A state that the shard was given, and where it is in the file.
#[derive(Clone, Copy, Debug)]
pub struct Restored<'a> {
    /// What the line says.
    pub line: &'a StateRestored,
    /// The header of the life that took it.
    pub header: &'a Header,
    /// The number of the line.
    pub number: usize,
}

/// The shard went back to an earlier version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// The generation that began with it.
    pub generation: Generation,
    /// The version that it was at.
    pub from: Step,
    /// The version that it went to.
    pub to: Step,
}

impl<'a> Shard<'a> {
    /// The number of the ps.
    #[must_use]
    pub const fn ps(&self) -> u32 {
        self.ledger.ps
    }

    /// The file.
    #[must_use]
    pub const fn ledger(&self) -> &'a Ledger {
        self.ledger
    }

    /// The header of the last life; `None` in an empty file.
    #[must_use]
    pub fn header(&self) -> Option<&'a Header> {
        self.header.map(|(header, _)| header)
    }

    /// Where that one is.
    pub(super) fn place_of_header(&self) -> Option<Place> {
        self.header.map(|(_, line)| Place::line(&self.ledger.path, line))
    }

    /// The updates that stand, ascending by step.
    pub fn standing(&self) -> impl Iterator<Item = &Made<'a>> {
        self.stands.values().map(|index| &self.made[*index])
    }

    /// The update of a step that stands.
    #[must_use]
    pub fn standing_at(&self, step: Step) -> Option<&Made<'a>> {
        self.stands.get(&step).map(|index| &self.made[*index])
    }

    /// The hash of a version that stands, if an update or a restored state says it.
    #[must_use]
    pub fn hash_of(&self, version: Step) -> Option<StateHash> {
        let before = version.0.checked_sub(1).and_then(|step| self.standing_at(Step(step)));
        before
            .map(|made| made.update.after)
            .or_else(|| self.standing_at(version).map(|made| made.update.before))
            .or_else(|| {
                let last = self.restored.last().filter(|restored| restored.line.step == version);
                last.map(|restored| restored.line.after)
            })
    }

    /// Every hash that any history gave to a version, and the update that made it.
    pub(super) fn hashes_of(&self, version: Step) -> Vec<(StateHash, Option<usize>)> {
        let made = self.made.iter().enumerate().filter(|(_, made)| made.version() == version);
        let made = made.map(|(index, made)| (made.update.after, Some(index)));
        let restored = self.restored.iter().filter(|restored| restored.line.step == version);
        made.chain(restored.map(|restored| (restored.line.after, None))).collect()
    }

    /// The version that the standing history ends with.
    #[must_use]
    pub fn end(&self) -> Option<Step> {
        let made = self.stands.last_key_value().map(|(step, _)| step.next());
        made.or_else(|| self.restored.last().map(|restored| restored.line.step))
    }

    /// Drops the updates of this step or later from those that stand.
    pub(super) fn forget_from(&mut self, step: Step) {
        self.stands.split_off(&step);
    }

    /// Makes those stand that led to this update.
    pub(super) fn go_back_to(&mut self, index: usize) {
        self.stands.clear();
        let mut next = Some(index);
        while let Some(index) = next {
            let made = &self.made[index];
            self.stands.insert(made.update.step, index);
            next = made.before;
        }
    }
}

impl Made<'_> {
    /// The version that it made.
    #[must_use]
    pub const fn version(&self) -> Step {
        self.update.step.next()
    }

    /// The number of the ps.
    #[must_use]
    pub const fn ps(&self) -> u32 {
        self.ledger.ps
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::line(&self.ledger.path, self.line)
    }

    pub(super) fn violation(
        &self,
        rule: Rule,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> Violation {
        let (wanted, found) = (wanted.into(), found.into());
        Violation { rule, step: self.update.step, place: self.place(), wanted, found }
    }
}
