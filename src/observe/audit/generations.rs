//! The order in which the generations of a run were opened: that of the lines in the ledgers.
//!
//! Their numbers do not tell it across restarts of the whole cluster. If a clock was set back
//! meanwhile, and no task and no file remembered the chief before, a later chief has a smaller
//! incarnation, and opens generations with smaller numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::shard::Shard;
use unisono_core::ids::{Generation, Step};

/// The generations that were opened, each with the version that it began with, the first one first.
#[derive(Debug)]
pub(super) struct Generations(Vec<(Generation, Step)>);

/// What the ledgers say of one generation.
#[derive(Debug, Default)]
struct Node {
    from: Step,
    /// Those that follow it immediately in some ledger.
    after: BTreeSet<Generation>,
    /// How many precede it immediately in some ledger, and have no place in the order yet.
    n_before: usize,
}

impl Generations {
    pub(super) fn of(shards: &[Shard<'_>]) -> Self {
        let mut nodes: BTreeMap<Generation, Node> = BTreeMap::new();
        for shard in shards {
            let mut before: Option<Generation> = None;
            for restored in &shard.restored {
                let generation = restored.line.generation;
                nodes.entry(generation).or_default().from = restored.line.step;
                if let Some(before) = before.filter(|before| *before != generation)
                    && nodes.entry(before).or_default().after.insert(generation)
                {
                    nodes.entry(generation).or_default().n_before += 1;
                }
                before = Some(generation);
            }
        }
        Self::merge(nodes)
    }

    /// Where the ledgers do not say which of two was opened first, their numbers do. So they do if
    /// the ledgers contradict each other: a chief that was replaced may restore a ps that has
    /// forgotten the newer chief.
    fn merge(mut nodes: BTreeMap<Generation, Node>) -> Self {
        let mut order = Vec::new();
        let mut ready: BTreeSet<Generation> =
            nodes.iter().filter(|(_, node)| node.n_before == 0).map(|(key, _)| *key).collect();
        while let Some(next) = ready.pop_first().or_else(|| nodes.keys().next().copied()) {
            let Some(node) = nodes.remove(&next) else { continue };
            order.push((next, node.from));
            for after in node.after {
                let Some(follower) = nodes.get_mut(&after) else { continue };
                follower.n_before -= 1;
                if follower.n_before == 0 {
                    ready.insert(after);
                }
            }
        }
        Self(order)
    }

    /// The one that was opened last, and the version that it began with.
    pub(super) fn last(&self) -> Option<(Generation, Step)> {
        self.0.last().copied()
    }

    /// The place of a generation in the order.
    pub(super) fn place_of(&self, generation: Generation) -> Option<usize> {
        self.0.iter().position(|(opened, _)| *opened == generation)
    }
}
