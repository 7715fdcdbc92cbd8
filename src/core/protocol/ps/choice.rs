//! Rule 2, R < N: which slots an update uses. Ps 0 alone decides, for all shards.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Cut, Slot};

/// Ps 0's view of which slots every shard holds whole.
#[derive(Debug)]
pub(super) struct Choice {
    n_ps: u32,
    replicas_to_aggregate: usize,
    cut: Cut,
    /// Which shards hold a slot.
    holders: BTreeMap<Slot, BTreeSet<u32>>,
    /// The slots that all shards hold, in the order in which ps 0 learned it.
    whole: Vec<Slot>,
    /// What was decided last, for a shard that did not hear it.
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

    /// Shard `ps` holds `slot` whole. Returns the choice, ascending, when this decides it.
    pub(super) fn note(&mut self, cut: Cut, ps: u32, slot: Slot) -> Option<Vec<Slot>> {
        if cut != self.cut || self.decided(cut).is_some() {
            return None;
        }
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

    /// What was decided for a cut, if it was the last decision.
    pub(super) fn decided(&self, cut: Cut) -> Option<&[Slot]> {
        self.last.as_ref().filter(|(at, _)| *at == cut).map(|(_, slots)| slots.as_slice())
    }

    /// Ps 0's shard is at the next version.
    pub(super) fn advance(&mut self, cut: Cut) {
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
    fn the_first_r_slots_that_every_shard_holds_are_chosen() {
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
    fn news_of_another_cut_is_ignored_and_the_last_choice_is_remembered() {
        let mut choice = Choice::new(1, 1, cut(0));
        assert_eq!(choice.note(cut(1), 0, Slot(0)), None);
        assert_eq!(choice.note(cut(0), 0, Slot(1)), Some(vec![Slot(1)]));
        choice.advance(cut(1));
        assert_eq!(choice.decided(cut(0)), Some(&[Slot(1)][..]));
        assert_eq!(choice.note(cut(1), 0, Slot(0)), Some(vec![Slot(0)]));
        assert_eq!(choice.decided(cut(0)), None);
    }
}
