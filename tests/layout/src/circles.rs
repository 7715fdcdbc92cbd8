//! Circles in a graph.

use std::collections::{BTreeMap, BTreeSet};

/// Edges by their first end.
pub(crate) type Graph<K> = BTreeMap<K, BTreeSet<K>>;

/// Sets of two or more nodes each of which reaches all others of its set.
pub(crate) fn circles<K: Ord + Clone>(graph: &Graph<K>) -> Vec<BTreeSet<K>> {
    let reached: BTreeMap<&K, BTreeSet<&K>> =
        graph.keys().map(|from| (from, reach(graph, from))).collect();
    let mut found: Vec<BTreeSet<K>> = Vec::new();
    for (from, to) in &reached {
        if found.iter().any(|circle| circle.contains(from)) {
            continue;
        }
        let both = to.iter().filter(|it| reached.get(**it).is_some_and(|back| back.contains(from)));
        let circle: BTreeSet<K> = both.map(|it| (*it).clone()).collect();
        if circle.len() > 1 {
            found.push(circle);
        }
    }
    found
}

fn reach<'a, K: Ord>(graph: &'a Graph<K>, from: &'a K) -> BTreeSet<&'a K> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        for next in graph.get(node).into_iter().flatten() {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    seen
}
