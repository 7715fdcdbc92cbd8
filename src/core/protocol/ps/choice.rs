//! Applies rule 2 if R < N: ps 0 chooses the slots that an update uses, for all shards.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Cut, Slot};

/// The state of ps 0's choice of slots: the slots whose gradients each shard holds, and the last
/// chosen slots.
#[derive(Debug)]
pub(super) struct Choice {
    n_ps: u32,
    replicas_to_aggregate: usize,
    cut: Cut,
    /// For each slot, the shards that hold its gradient.
    holders: BTreeMap<Slot, BTreeSet<u32>>,
    /// The slots that all shards hold, in the order in which ps 0 learned of them.
    whole: Vec<Slot>,
    /// The last chosen slots, and the version whose update uses them. Ps 0 sends these slots again
    /// if a lost link has swallowed the message to another ps.
    last: Option<(Cut, Vec<Slot>)>,
}

impl Choice {
    pub(super) const fn new(n_ps: u32, replicas_to_aggregate: u32, cut: Cut) -> Self {
        Self {
            n_ps,
            replicas_to_aggregate: replicas_to_aggregate as usize,
            cut,
            holders: BTreeMap::new(),
            whole: Vec::new(),
            last: None,
        }
    }

    /// Records that shard `ps` holds the gradient of `slot`. If this gradient completes the choice,
    /// returns the chosen slots, ascending.
    pub(super) fn note(&mut self, cut: Cut, ps: u32, slot: Slot) -> Option<Vec<Slot>> {
        if cut != self.cut || self.decided(cut).is_some() {
            return None;
        }
        // A ps that has connected again reports all its slots again. So `holders` may already
        // contain this ps.
        let holders = self.holders.entry(slot).or_default();
        if holders.insert(ps) && holders.len() == self.n_ps as usize {
            self.whole.push(slot);
        }
        if self.whole.len() < self.replicas_to_aggregate {
            return None;
        }
        let mut slots = self.whole.clone();
        slots.sort_unstable();
        self.last = Some((cut, slots.clone()));
        Some(slots)
    }

    /// Returns the slots that were chosen for the update of this generation and step, or `None` if
    /// the last choice belongs to another update.
    pub(super) fn decided(&self, cut: Cut) -> Option<&[Slot]> {
        self.last.as_ref().filter(|(at, _)| *at == cut).map(|(_, slots)| slots.as_slice())
    }

    /// Starts choosing the slots of the update from version `cut`. Called when ps 0's shard has
    /// reached this version.
    pub(super) fn advance(&mut self, cut: Cut) {
        // `last` is kept, because another shard may still need the choice of the previous version.
        self.cut = cut;
        self.holders.clear();
        self.whole.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Step};

    fn cut(step: u64) -> Cut {
        Cut { generation: Generation::default(), step: Step(step) }
    }

    #[test]
    fn first_r_slots_that_every_shard_holds_are_chosen() {
        let mut choice = Choice::new(2, 2, cut(0));
        assert_eq!(choice.note(cut(0), 0, Slot(2)), None);
        assert_eq!(choice.note(cut(0), 0, Slot(0)), None);
        assert_eq!(choice.note(cut(0), 1, Slot(1)), None);
        assert_eq!(choice.note(cut(0), 1, Slot(2)), None);
        assert_eq!(choice.note(cut(0), 1, Slot(2)), None, "a repetition counts once");
        assert_eq!(choice.note(cut(0), 0, Slot(1)), Some(vec![Slot(1), Slot(2)]));
        assert_eq!(choice.note(cut(0), 1, Slot(0)), None, "it is decided");
        assert_eq!(choice.decided(cut(0)), Some(&[Slot(1), Slot(2)][..]));
    }

    #[test]
    fn slots_of_another_cut_are_ignored_and_the_last_choice_is_kept() {
        let mut choice = Choice::new(1, 1, cut(0));
        assert_eq!(choice.note(cut(1), 0, Slot(0)), None);
        assert_eq!(choice.note(cut(0), 0, Slot(1)), Some(vec![Slot(1)]));
        choice.advance(cut(1));
        assert_eq!(choice.decided(cut(0)), Some(&[Slot(1)][..]));
        assert_eq!(choice.note(cut(1), 0, Slot(0)), Some(vec![Slot(0)]));
        assert_eq!(choice.decided(cut(0)), None);
    }
}
