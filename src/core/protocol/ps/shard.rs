//! A shard at one version, and the gradients that it has received for the next update.
//!
//! This file decides whether a gradient is accepted. The file sends no messages, and does not know
//! which workers wait.

use std::collections::BTreeMap;

use crate::floats::Floats;
use crate::ids::{Cut, Slot, TaskId};
use crate::protocol::message::{ShardState, Verdict};

/// A gradient that a shard holds for its next update.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) worker: TaskId,
    pub(super) loss: f32,
    pub(super) gradient: Floats,
}

/// A pushed gradient that is not yet accepted or declined.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) cut: Cut,
    pub(super) slot: Slot,
    pub(super) held: Held,
}

/// The decision about a pushed gradient.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The gradient is new, and the shard holds it.
    Accepted,
    /// The gradient is a duplicate, stale or fenced. The worker receives the verdict.
    Declined(Verdict),
    /// The gradient is new, but the update does not use its slot.
    Surplus,
    /// The shard holds a gradient of the same slot and version whose bits differ.
    Diverged,
    /// The push violates the protocol. The text states the reason.
    Violation(String),
}

/// A shard's state at one generation and step.
#[derive(Debug)]
pub(super) struct Shard {
    cut: Cut,
    state: ShardState,
    n_slots: u32,
    held: BTreeMap<Slot, Held>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The shard receives gradients. `chosen` contains the slots of the update, ascending, or
    /// `None` while these slots are unknown.
    Collecting { chosen: Option<Vec<Slot>> },
    /// The host computes the update from the gradients of the slots `chosen`.
    Updating { chosen: Vec<Slot> },
}

impl Shard {
    /// Creates a shard whose steps have `n_slots` slots. `chosen` contains the slots of the next
    /// update, if these slots are known beforehand.
    pub(super) const fn new(
        cut: Cut,
        state: ShardState,
        n_slots: u32,
        chosen: Option<Vec<Slot>>,
    ) -> Self {
        Self { cut, state, n_slots, held: BTreeMap::new(), phase: Phase::Collecting { chosen } }
    }

    pub(super) const fn cut(&self) -> Cut {
        self.cut
    }

    pub(super) const fn state(&self) -> &ShardState {
        &self.state
    }

    /// Returns the slots whose gradients the shard holds, ascending.
    pub(super) fn held_slots(&self) -> Vec<Slot> {
        self.held.keys().copied().collect()
    }

    pub(super) fn holds(&self, slot: Slot) -> bool {
        self.held.contains_key(&slot)
    }

    pub(super) const fn is_updating(&self) -> bool {
        matches!(self.phase, Phase::Updating { .. })
    }

    /// Judges a gradient by rules 1, 4, 5 and 8, and stores the gradient if it is accepted.
    pub(super) fn offer(&mut self, offer: Offer) -> Judgement {
        let Offer { cut, slot, held } = offer;
        if let Err(why) = self.check(cut, slot, &held.gradient) {
            return Judgement::Violation(why);
        }
        if cut.generation != self.cut.generation {
            return Judgement::Declined(Verdict::Fenced);
        }
        if cut.step < self.cut.step {
            return Judgement::Declined(Verdict::Stale);
        }
        // Rule 4. Losses are compared as bits, because -0.0 == 0.0 and NaN != NaN.
        if let Some(first) = self.held.get(&slot) {
            let same =
                first.gradient == held.gradient && first.loss.to_bits() == held.loss.to_bits();
            return if same {
                Judgement::Declined(Verdict::Duplicate)
            } else {
                Judgement::Diverged
            };
        }
        match &self.phase {
            Phase::Collecting { chosen: Some(chosen) } if chosen.binary_search(&slot).is_err() => {
                Judgement::Surplus
            }
            // Rule 1: the update already has its R gradients, so a further gradient of this step is
            // too late.
            Phase::Updating { .. } => Judgement::Surplus,
            Phase::Collecting { .. } => {
                self.held.insert(slot, held);
                Judgement::Accepted
            }
        }
    }

    fn check(&self, cut: Cut, slot: Slot, gradient: &Floats) -> Result<(), String> {
        if slot.0 >= self.n_slots {
            return Err(format!("pushed slot {slot}, but a step has only {} slots", self.n_slots));
        }
        if gradient.len() != self.state.parameters.len() {
            return Err(format!(
                "pushed a gradient of {} values, but the shard has {}",
                gradient.len(),
                self.state.parameters.len()
            ));
        }
        // Only this ps makes versions of this shard, so no worker can have a later version of the
        // same generation.
        if cut.generation == self.cut.generation && cut.step > self.cut.step {
            return Err(format!("pushed a gradient of {cut}, but this ps is at {}", self.cut));
        }
        Ok(())
    }

    /// Sets the slots of the next update. Drops the held gradients of all other slots, and returns
    /// them.
    pub(super) fn choose(&mut self, slots: Vec<Slot>) -> Vec<(Slot, Held)> {
        let surplus = self.held.extract_if(.., |slot, _| !slots.contains(slot)).collect();
        self.phase = Phase::Collecting { chosen: Some(slots) };
        surplus
    }

    /// Starts the update if the shard holds the gradients of all chosen slots (rule 1). Returns
    /// these gradients, ascending by slot (rule 3).
    pub(super) fn begin_update(&mut self) -> Option<Vec<(Slot, Floats)>> {
        let Phase::Collecting { chosen: Some(chosen) } = &self.phase else { return None };
        // `held` is a subset of `chosen` here, so comparing lengths suffices. Scanning a thousand
        // slots per push was measurable.
        if self.held.len() < chosen.len() {
            return None;
        }
        let gradients: Option<Vec<_>> = chosen
            .iter()
            .map(|&slot| self.held.get(&slot).map(|held| (slot, held.gradient.clone())))
            .collect();
        let gradients = gradients?;
        self.phase = Phase::Updating { chosen: gradients.iter().map(|(slot, _)| *slot).collect() };
        Some(gradients)
    }

    /// Replaces the state by the result of the update, and moves to the next version, for which the
    /// shard holds no gradients yet. Returns the slots and losses of the update, ascending by slot.
    /// Returns `None` if the shard was not computing this update.
    pub(super) fn finish_update(
        &mut self,
        cut: Cut,
        state: ShardState,
        next_chosen: Option<Vec<Slot>>,
    ) -> Option<Vec<(Slot, f32)>> {
        let Phase::Updating { chosen } = &self.phase else { return None };
        // Rule 8: after a restore, the result of an update of the previous generation may still
        // come.
        if cut != self.cut {
            return None;
        }
        let losses = chosen.iter().map(|slot| (*slot, self.held[slot].loss)).collect();
        *self = Self::new(cut.next(), state, self.n_slots, next_chosen);
        Some(losses)
    }

    /// Returns whether the next update may use this slot and the shard does not hold the slot's
    /// gradient yet.
    pub(super) fn lacks(&self, slot: Slot) -> bool {
        let is_of_use = match &self.phase {
            Phase::Updating { .. } => false,
            Phase::Collecting { chosen: Some(chosen) } => chosen.binary_search(&slot).is_ok(),
            Phase::Collecting { chosen: None } => slot.0 < self.n_slots,
        };
        is_of_use && !self.held.contains_key(&slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Step};

    const WORKER: TaskId = TaskId::worker(1);

    fn cut(step: u64) -> Cut {
        Cut { generation: Generation::default(), step: Step(step) }
    }

    fn state(value: f32) -> ShardState {
        ShardState { parameters: vec![value].into(), ..ShardState::default() }
    }

    fn offer(step: u64, slot: u32, value: f32) -> Offer {
        let held = Held { worker: WORKER, loss: value, gradient: vec![value].into() };
        Offer { cut: cut(step), slot: Slot(slot), held }
    }

    fn shard(n_slots: u32, chosen: Option<Vec<Slot>>) -> Shard {
        Shard::new(cut(5), state(1.0), n_slots, chosen)
    }

    fn all(n_slots: u32) -> Option<Vec<Slot>> {
        Some((0..n_slots).map(Slot).collect())
    }

    #[test]
    fn update_starts_once_when_all_its_slots_are_held() {
        let mut shard = shard(2, all(2));
        assert_eq!(shard.offer(offer(5, 1, 10.0)), Judgement::Accepted);
        assert_eq!(shard.begin_update(), None);
        assert!(shard.lacks(Slot(0)) && !shard.lacks(Slot(1)));
        assert_eq!(shard.offer(offer(5, 0, 20.0)), Judgement::Accepted);
        let used = shard.begin_update().expect("both slots are held");
        let slots: Vec<_> = used.iter().map(|(slot, gradient)| (slot.0, gradient[0])).collect();
        assert_eq!(slots, [(0, 20.0), (1, 10.0)], "ascending by slot, whatever came first");
        assert_eq!(shard.begin_update(), None);
        let losses = shard.finish_update(cut(5), state(2.0), all(2));
        assert_eq!(losses, Some(vec![(Slot(0), 20.0), (Slot(1), 10.0)]));
        assert_eq!(shard.cut(), cut(6));
    }

    #[test]
    fn second_copy_is_a_duplicate_also_while_the_update_is_computed() {
        let mut shard = shard(1, all(1));
        assert_eq!(shard.offer(offer(5, 0, 1.0)), Judgement::Accepted);
        assert_eq!(shard.offer(offer(5, 0, 1.0)), Judgement::Declined(Verdict::Duplicate));
        assert!(shard.begin_update().is_some());
        assert_eq!(shard.offer(offer(5, 0, 1.0)), Judgement::Declined(Verdict::Duplicate));
    }

    #[test]
    fn second_copy_with_other_bits_has_diverged() {
        let mut shard = shard(2, all(2));
        assert_eq!(shard.offer(offer(5, 0, 0.0)), Judgement::Accepted);
        assert_eq!(shard.offer(offer(5, 0, -0.0)), Judgement::Diverged);
        let mut other_loss = offer(5, 0, 0.0);
        other_loss.held.loss = -0.0;
        assert_eq!(shard.offer(other_loss), Judgement::Diverged);
        let mut other_gradient = offer(5, 0, -0.0);
        other_gradient.held.loss = 0.0;
        assert_eq!(shard.offer(other_gradient), Judgement::Diverged);
    }

    #[test]
    fn gradients_of_older_versions_are_stale_and_of_other_generations_fenced() {
        let mut shard = shard(1, all(1));
        assert_eq!(shard.offer(offer(4, 0, 1.0)), Judgement::Declined(Verdict::Stale));
        let mut other = offer(5, 0, 1.0);
        other.cut.generation.number = 7;
        assert_eq!(shard.offer(other), Judgement::Declined(Verdict::Fenced));
    }

    #[test]
    fn future_step_wrong_slot_and_wrong_length_are_violations() {
        let mut shard = shard(1, all(1));
        assert!(matches!(shard.offer(offer(6, 0, 1.0)), Judgement::Violation(_)));
        assert!(matches!(shard.offer(offer(5, 1, 1.0)), Judgement::Violation(_)));
        let mut long = offer(5, 0, 1.0);
        long.held.gradient = vec![1.0, 2.0].into();
        assert!(matches!(shard.offer(long), Judgement::Violation(_)));
    }

    #[test]
    fn gradients_outside_the_chosen_slots_are_surplus() {
        let mut shard = shard(3, None);
        for slot in [2, 0] {
            assert_eq!(shard.offer(offer(5, slot, 1.0)), Judgement::Accepted);
        }
        assert_eq!(shard.begin_update(), None, "the slots are not chosen yet");
        let surplus = shard.choose(vec![Slot(1), Slot(2)]);
        assert_eq!(surplus.iter().map(|(slot, _)| slot.0).collect::<Vec<_>>(), [0]);
        assert_eq!(shard.offer(offer(5, 0, 1.0)), Judgement::Surplus);
        assert_eq!(shard.offer(offer(5, 1, 1.0)), Judgement::Accepted);
        assert!(shard.begin_update().is_some());
    }

    #[test]
    fn result_for_another_cut_changes_nothing() {
        let mut shard = shard(1, all(1));
        assert_eq!(shard.finish_update(cut(5), state(9.0), all(1)), None);
        assert_eq!(shard.offer(offer(5, 0, 1.0)), Judgement::Accepted);
        assert!(shard.begin_update().is_some());
        assert_eq!(shard.finish_update(cut(4), state(9.0), all(1)), None);
        assert_eq!(shard.state(), &state(1.0));
    }
}
