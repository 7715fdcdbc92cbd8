//! Goes through the ledgers of a run, one by itself and then all side by side.

use std::collections::{BTreeMap, BTreeSet};

use super::found::{Audit, Seen};
use super::generations::Generations;
use super::shard::Shard;
use super::{pass, repeats, shards};
use crate::ledger::Ledger;

impl<'a> Audit<'a> {
    /// Goes through ledgers, ascending by ps.
    #[must_use]
    pub fn of(ledgers: &'a [Ledger]) -> Self {
        let mut audit = Self {
            shards: Vec::new(),
            violations: Vec::new(),
            notes: Vec::new(),
            seen: Seen::default(),
            arithmetics: Vec::new(),
        };
        for ledger in ledgers {
            let shard = examine(ledger, &mut audit);
            audit.shards.push(shard);
        }
        audit.forget_what_was_rolled_back_elsewhere();
        shards::compare(&mut audit);
        repeats::compare(&mut audit);
        audit
    }

    /// The generations that were opened, in order.
    pub(super) fn generations(&self) -> Generations {
        Generations::of(&self.shards)
    }

    /// A shard that was killed before it heard of the newest generation, and never came back, does
    /// not know that what it made last is void.
    fn forget_what_was_rolled_back_elsewhere(&mut self) {
        let Some((newest, from)) = self.generations().last() else { return };
        for shard in &mut self.shards {
            if shard.restored.last().is_some_and(|last| last.line.generation != newest) {
                shard.forget_from(from);
            }
        }
    }

    /// The parameter servers of the cluster, as it was last.
    pub(super) fn n_ps(&self) -> u32 {
        let generations = self.generations();
        let opened = |shard: &&Shard<'_>| {
            let last = shard.restored.last()?;
            generations.place_of(last.line.generation)
        };
        let last = self.shards.iter().max_by_key(opened);
        last.and_then(Shard::header).map_or(0, |header| header.n_ps)
    }

    /// The shards of which there is no ledger.
    pub(super) fn absent(&self) -> BTreeSet<u32> {
        let there: BTreeSet<u32> = self.shards.iter().map(Shard::ps).collect();
        (0..self.n_ps()).filter(|ps| !there.contains(ps)).collect()
    }
}

/// Goes through one ledger.
fn examine<'a>(ledger: &'a Ledger, audit: &mut Audit<'a>) -> Shard<'a> {
    let shard = Shard {
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
