//! The result of an audit.

use crate::shard::{Made, ShardHistory};
use crate::violation::Violation;
use std::collections::BTreeMap;
use unisono_core::ids::Step;
use unisono_observe::ledger::Header;

/// The state of an audit: the histories of all shards and the problems found so far.
#[derive(Debug)]
pub struct Audit<'a> {
    /// History of each ledger's shard, ascending by ps.
    pub shards: Vec<ShardHistory<'a>>,
    /// Violations in the order of the checks: from checks of single lines to comparisons of all
    /// files.
    pub(super) violations: Vec<Violation>,
    /// Notes about missing or unusual content, in order.
    pub(super) notes: Vec<String>,
    pub(super) seen: AuditCounts,
    /// The different combinations of settings and training data in the ledgers, each as a header
    /// and a data digest. A combination determines the results of all computations. Updates refer
    /// to a combination by its index.
    pub(super) arithmetics: Vec<(&'a Header, Option<&'a str>)>,
}

/// The overall result of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No violation was found, and the ledger of every shard has every update that was not rolled
    /// back.
    Clean,
    /// No violation was found, but the ledgers lack some updates.
    Incomplete,
    /// At least one violation.
    Broken,
}

/// Maximum number of updates by which one shard may be ahead of another shard while a run goes on,
/// or after the run was killed.
pub(super) const MAX_APART: usize = 1;

/// Numbers of checked items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// Updates, counted for each shard.
    pub n_updates: u64,
    /// Gradients in these updates.
    pub n_slots: u64,
    /// Gradients that arrived and were not used.
    pub n_dropped: u64,
    /// Updates that were compared with the same update of another shard.
    pub n_compared: u64,
    /// Recomputed updates that were compared with an earlier update from the same version and the
    /// same gradients.
    pub n_repeated: u64,
    /// Recomputed gradients that were compared with an earlier gradient from the same version.
    pub n_gradients_repeated: u64,
    /// Rows of the losses file.
    pub n_losses: u64,
    /// Checkpoints.
    pub n_checkpoints: u64,
}

impl<'a> Audit<'a> {
    /// Returns the overall result.
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

    /// Returns whether the updates that were not rolled back have no gap, and every shard has each
    /// of these updates. Some shards may lack the last [`MAX_APART`] updates.
    fn is_whole(&self) -> bool {
        let standing = self.standing();
        let mut next = standing.keys().next().copied();
        let has_hole = standing.keys().any(|step| next.replace(step.next()) != Some(*step));
        // The last updates may be missing on some shards, because shards are not in lockstep.
        let n_partial = standing.values().rev().take_while(|made| !is_on_all_shards(made)).count();
        let mut all_before = standing.values().rev().skip(n_partial);
        !standing.is_empty()
            && !has_hole
            && n_partial <= MAX_APART
            && all_before.all(|made| is_on_all_shards(made))
    }

    /// Returns the violation of the earliest step. If this step has several violations, returns the
    /// most specific violation, which explains the others.
    #[must_use]
    pub fn first_violation(&self) -> Option<&Violation> {
        // `violations` begins with violations in a single line and ends with those between all
        // files. `min_by_key` returns the first of several minima, which is the most specific
        // violation.
        self.violations.iter().min_by_key(|violation| violation.step)
    }

    /// Returns all violations.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns notes about missing or unusual content.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the numbers of checked items.
    #[must_use]
    pub const fn seen(&self) -> AuditCounts {
        self.seen
    }

    /// Returns the standing updates, which are the updates that no rollback undid, ascending by
    /// step. Each step has one update of each shard whose ledger contains the step.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<Step, Vec<&Made<'a>>> {
        let mut standing: BTreeMap<Step, Vec<&Made<'a>>> = BTreeMap::new();
        for made in self.shards.iter().flat_map(ShardHistory::standing) {
            standing.entry(made.update.step).or_default().push(made);
        }
        standing
    }

    /// Returns the index in `arithmetics` of these settings and this data digest. Adds a new
    /// combination to `arithmetics`.
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

/// Returns whether the updates of one step come from all shards of the run.
pub fn is_on_all_shards(made: &[&Made<'_>]) -> bool {
    made.iter().all(|one| one.header.n_ps as usize == made.len())
}
