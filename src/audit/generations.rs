//! The order in which the generations of a run were opened, according to the lines of its ledgers.
//!
//! The numbers of generations do not determine the order of the generations if the whole cluster
//! was restarted. If a clock was set back, and no task and no file remembers the previous chief, a
//! later chief gets a smaller incarnation and opens generations with smaller numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::shard::ShardHistory;
use unisono_core::ids::{Generation, Step};

/// The generations in the order in which they were opened, each with its first version.
#[derive(Debug)]
pub(super) struct Generations(Vec<(Generation, Step)>);

/// Position of a generation relative to others.
#[derive(Debug, Default)]
struct Node {
    from: Step,
    /// Generations that come immediately after this generation in some ledger.
    after: BTreeSet<Generation>,
    /// Number of generations that come immediately before this generation in some ledger, and that
    /// have no position in the order yet.
    n_before: usize,
}

impl Generations {
    pub(super) fn of(shards: &[ShardHistory<'_>]) -> Self {
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

    /// Orders the generations topologically.
    ///
    /// If the ledgers do not determine the order of two generations, the numbers of the generations
    /// determine the order. The numbers also decide if ledgers contradict each other. Ledgers can
    /// contradict each other, because a chief that was already replaced may restore a ps that has
    /// forgotten the newer chief.
    fn merge(mut nodes: BTreeMap<Generation, Node>) -> Self {
        let mut order = Vec::new();
        let mut ready: BTreeSet<Generation> =
            nodes.iter().filter(|(_, node)| node.n_before == 0).map(|(key, _)| *key).collect();
        // If no generation is ready, the ledgers contradict each other. The smallest generation is
        // then next.
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

    /// Returns the generation that was opened last, and its first version.
    pub(super) fn last(&self) -> Option<(Generation, Step)> {
        self.0.last().copied()
    }

    /// Returns the position of a generation in the order.
    pub(super) fn place_of(&self, generation: Generation) -> Option<usize> {
        self.0.iter().position(|(opened, _)| *opened == generation)
    }
}
