//! What an audit has found so far.

use crate::audit::shard::{Made, Shard};
use crate::audit::violation::Violation;
use crate::ledger::Header;
use std::collections::BTreeMap;
use unisono_core::ids::Step;

/// What the ledgers of a run say together.
#[derive(Debug)]
pub struct Audit<'a> {
    /// One a ledger, ascending by ps.
    pub shards: Vec<Shard<'a>>,
    /// All that is against a rule, in the order in which a person should hear of it.
    pub(super) violations: Vec<Violation>,
    /// What could not be seen, or is worth a word, in order.
    pub(super) notes: Vec<String>,
    pub(super) seen: Seen,
    /// One of the headers and the digest of the data, for each way to compute: others refer to it by
    /// its place.
    pub(super) arithmetics: Vec<(&'a Header, Option<&'a str>)>,
}

/// What an audit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every update that stands was seen on every shard, and nothing is against a rule.
    Clean,
    /// Nothing is against a rule, but some updates were not seen on every shard.
    Incomplete,
    /// Something is against a rule.
    Broken,
}

/// Updates that shards may be apart while a run goes on, or when it is killed.
pub(super) const MAX_APART: usize = 1;

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Updates, each shard's for itself.
    pub n_updates: u64,
    /// Gradients in them.
    pub n_slots: u64,
    /// Gradients that came and were not used.
    pub n_dropped: u64,
    /// Updates that were compared with those of another shard.
    pub n_compared: u64,
    /// Updates that were made again, of the same version and the same gradients.
    pub n_repeated: u64,
    /// Gradients that were computed again, from the same version.
    pub n_gradients_repeated: u64,
    /// Rows of the losses file.
    pub n_losses: u64,
    /// Checkpoints.
    pub n_checkpoints: u64,
}

impl<'a> Audit<'a> {
    /// What it comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Broken
        } else if self.is_whole() {
            Verdict::Clean
        } else {
            Verdict::Incomplete
        }
    }

    /// Whether every update that stands was seen on every shard, without a hole.
    fn is_whole(&self) -> bool {
        let standing = self.standing();
        let mut next = standing.keys().next().copied();
        let has_hole = standing.keys().any(|step| next.replace(step.next()) != Some(*step));
        let n_partial = standing.values().rev().take_while(|made| !is_on_all_shards(made)).count();
        let mut all_before = standing.values().rev().skip(n_partial);
        !standing.is_empty()
            && !has_hole
            && n_partial <= MAX_APART
            && all_before.all(|made| is_on_all_shards(made))
    }

    /// The first violation: of the earliest step, and there the one that explains the others.
    #[must_use]
    pub fn first_violation(&self) -> Option<&Violation> {
        // The order in which they were found goes from a line by itself to all files together.
        self.violations.iter().min_by_key(|violation| violation.step)
    }

    /// All that is against a rule.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What could not be seen, or is worth a word.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How much was looked at.
    #[must_use]
    pub const fn seen(&self) -> Seen {
        self.seen
    }

    /// The updates that stand, ascending by step: what became of the run. Of each step, those of
    /// the shards whose ledgers have it.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<Step, Vec<&Made<'a>>> {
        let mut standing: BTreeMap<Step, Vec<&Made<'a>>> = BTreeMap::new();
        for made in self.shards.iter().flat_map(Shard::standing) {
            standing.entry(made.update.step).or_default().push(made);
        }
        standing
    }

    /// The number of the arithmetic of a life that trains on data of this digest.
    pub(super) fn number_of(&mut self, header: &'a Header, data: Option<&'a str>) -> usize {
        let is_it = |(known, of): &(&Header, Option<&str>)| {
            *of == data && known.difference(header).is_none()
        };
        self.arithmetics.iter().position(is_it).unwrap_or_else(|| {
            self.arithmetics.push((header, data));
            self.arithmetics.len() - 1
        })
    }
}

/// Whether these updates of one step are those of all shards that its run had.
pub fn is_on_all_shards(made: &[&Made<'_>]) -> bool {
    made.iter().all(|one| one.header.n_ps as usize == made.len())
}
