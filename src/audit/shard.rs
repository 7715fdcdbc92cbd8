//! The history of a shard: all updates of its ledger, and the updates that no rollback undid.

use std::collections::BTreeMap;

use super::{FilePlace, Rule, Violation};
use unisono_core::ids::{Generation, Step};
use unisono_observe::ledger::line::{StateRestored, UpdateMade};
use unisono_observe::ledger::{Header, Ledger, StateHash};

/// The history of a shard according to its ledger.
#[derive(Debug)]
pub struct ShardHistory<'a> {
    pub(super) ledger: &'a Ledger,
    /// All updates, in the order of the file.
    pub made: Vec<Made<'a>>,
    /// All states that the shard took from a chief, in the order of the file.
    pub restored: Vec<Restored<'a>>,
    /// All rollbacks to an earlier version.
    pub rollbacks: Vec<Rollback>,
    /// Number of incarnations of the ps.
    pub n_lives: usize,
    /// Standing updates, which no rollback undid. Maps the step of an update to its index in
    /// `made`.
    pub(super) stands: BTreeMap<Step, usize>,
    pub(super) header: Option<(&'a Header, usize)>,
}

/// An update with its place in the file.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// Content of the line.
    pub update: &'a UpdateMade,
    /// Header of the incarnation that made the update.
    pub header: &'a Header,
    /// Index in `Audit::arithmetics`. Equal indices mean equal settings and equal training data.
    pub(super) arithmetic: usize,
    /// Line number, from 1.
    pub line: usize,
    /// Index of the update that made the version before this update; `None` if the ledger does not
    /// contain that update.
    pub(super) before: Option<usize>,
    pub(super) ledger: &'a Ledger,
}

/// A restored state with its place in the file.
#[derive(Clone, Copy, Debug)]
pub struct Restored<'a> {
    /// Content of the line.
    pub line: &'a StateRestored,
    /// Header of the incarnation that took the state.
    pub header: &'a Header,
    /// Line number, from 1.
    pub number: usize,
}

/// A rollback of the shard to an earlier version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// Generation that the rollback opened.
    pub generation: Generation,
    /// Version before the rollback.
    pub from: Step,
    /// Version after the rollback.
    pub to: Step,
}

impl<'a> ShardHistory<'a> {
    /// Returns the number of the ps.
    #[must_use]
    pub const fn ps(&self) -> u32 {
        self.ledger.ps
    }

    /// Returns the ledger.
    #[must_use]
    pub const fn ledger(&self) -> &'a Ledger {
        self.ledger
    }

    /// Returns the header of the last incarnation; `None` if the ledger is empty.
    #[must_use]
    pub fn header(&self) -> Option<&'a Header> {
        self.header.map(|(header, _)| header)
    }

    /// Returns the place of the last header.
    pub(super) fn place_of_header(&self) -> Option<FilePlace> {
        self.header.map(|(_, line)| FilePlace::line(&self.ledger.path, line))
    }

    /// Returns the standing updates, which no rollback undid, ascending by step.
    pub fn standing(&self) -> impl Iterator<Item = &Made<'a>> {
        self.stands.values().map(|index| &self.made[*index])
    }

    /// Returns the update of a step, unless a rollback undid the update.
    #[must_use]
    pub fn standing_at(&self, step: Step) -> Option<&Made<'a>> {
        self.stands.get(&step).map(|index| &self.made[*index])
    }

    /// Returns the hash of a version that no rollback undid; `None` if no line of the ledger has
    /// the hash.
    #[must_use]
    pub fn hash_of(&self, version: Step) -> Option<StateHash> {
        // Three lines may have the hash: that of the previous update, that of the next update, and
        // that of a restored state. A shortened ledger lacks some of these lines.
        let before = version.0.checked_sub(1).and_then(|step| self.standing_at(Step(step)));
        before
            .map(|made| made.update.after)
            .or_else(|| self.standing_at(version).map(|made| made.update.before))
            .or_else(|| {
                let last = self.restored.last().filter(|restored| restored.line.step == version);
                last.map(|restored| restored.line.after)
            })
    }

    /// Returns every hash that a version has had, including rolled-back versions. With each hash,
    /// returns the index of the update that made the version, or `None` for a restored state.
    pub(super) fn hashes_of(&self, version: Step) -> Vec<(StateHash, Option<usize>)> {
        let made = self.made.iter().enumerate().filter(|(_, made)| made.version() == version);
        let made = made.map(|(index, made)| (made.update.after, Some(index)));
        let restored = self.restored.iter().filter(|restored| restored.line.step == version);
        made.chain(restored.map(|restored| (restored.line.after, None))).collect()
    }

    /// Returns the last version that no rollback undid.
    #[must_use]
    pub fn end(&self) -> Option<Step> {
        let made = self.stands.last_key_value().map(|(step, _)| step.next());
        made.or_else(|| self.restored.last().map(|restored| restored.line.step))
    }

    /// Removes the updates of `step` and of later steps from the standing updates.
    pub(super) fn forget_from(&mut self, step: Step) {
        self.stands.split_off(&step);
    }

    /// Replaces the standing updates by this update and all updates that led to it.
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
    /// Returns the version that the update made.
    #[must_use]
    pub const fn version(&self) -> Step {
        self.update.step.next()
    }

    /// Returns the number of the ps.
    #[must_use]
    pub const fn ps(&self) -> u32 {
        self.ledger.ps
    }

    /// Returns the place in the file.
    #[must_use]
    pub fn place(&self) -> FilePlace {
        FilePlace::line(&self.ledger.path, self.line)
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
