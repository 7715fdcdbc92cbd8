//! Checks the ledgers of a run: first each one alone, then all of them together.

use std::collections::{BTreeMap, BTreeSet};

use super::found::{Audit, AuditCounts};
use super::generations::Generations;
use super::shard::ShardHistory;
use super::{pass, repeats, shards};
use unisono_observe::ledger::Ledger;

impl<'a> Audit<'a> {
    /// Audits ledgers, which must be ascending by ps.
    #[must_use]
    pub fn of(ledgers: &'a [Ledger]) -> Self {
        let mut audit = Self {
            shards: Vec::new(),
            violations: Vec::new(),
            notes: Vec::new(),
            seen: AuditCounts::default(),
            arithmetics: Vec::new(),
        };
        for ledger in ledgers {
            let shard = examine(ledger, &mut audit);
            audit.shards.push(shard);
        }
        // Drop rolled-back updates before the comparison, which would report them as
        // contradictions.
        audit.forget_what_was_rolled_back_elsewhere();
        shards::compare(&mut audit);
        repeats::compare(&mut audit);
        audit
    }

    /// Returns the generations in the order in which they were opened.
    pub(super) fn generations(&self) -> Generations {
        Generations::of(&self.shards)
    }

    /// Drops updates that were rolled back, although the ledger of their shard does not record the
    /// rollback.
    ///
    /// If a ps was killed before the newest generation was opened, and was not restarted, its
    /// ledger does not record that its last updates were rolled back.
    fn forget_what_was_rolled_back_elsewhere(&mut self) {
        let Some((newest, from)) = self.generations().last() else { return };
        for shard in &mut self.shards {
            if shard.restored.last().is_some_and(|last| last.line.generation != newest) {
                shard.forget_from(from);
            }
        }
    }

    /// Returns the number of ps in the last configuration of the cluster.
    pub(super) fn n_ps(&self) -> u32 {
        let generations = self.generations();
        let opened = |shard: &&ShardHistory<'_>| {
            let last = shard.restored.last()?;
            generations.place_of(last.line.generation)
        };
        let last = self.shards.iter().max_by_key(opened);
        last.and_then(ShardHistory::header).map_or(0, |header| header.n_ps)
    }

    /// Returns the shards that have no ledger.
    pub(super) fn absent(&self) -> BTreeSet<u32> {
        let there: BTreeSet<u32> = self.shards.iter().map(ShardHistory::ps).collect();
        (0..self.n_ps()).filter(|ps| !there.contains(ps)).collect()
    }
}

/// Checks one ledger alone.
fn examine<'a>(ledger: &'a Ledger, audit: &mut Audit<'a>) -> ShardHistory<'a> {
    let shard = ShardHistory {
        ledger,
        made: Vec::new(),
        restored: Vec::new(),
        rollbacks: Vec::new(),
        n_lives: 0,
        stands: BTreeMap::new(),
        header: None,
    };
    pass::go(shard, audit)
}
