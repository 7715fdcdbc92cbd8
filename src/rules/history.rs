//! All that was made in a run: states, gradients, updates. Whatever is made twice must be the same,
//! to the bit.
//!
//! Knows no rule but that one; the rules look things up here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use unisono_core::protocol::{
    ClusterConfig, Done, Effect, Input, Job, Message, NetworkEvent, ShardState, Snapshot,
    StorageEvent,
};
use unisono_core::{Cut, Floats, Generation, Slot, Step};

use crate::files::Files;
use crate::kept::{Kept, KeptState};
use crate::life_turn::LifeTurn;
use crate::lives::Lives;
use crate::violation::Violation;

/// Values that are kept whole, of 4 bytes: of what is older only checksums are left. The nodes
/// themselves, and whoever remembers what was computed, share most of them.
const MAX_KEPT_VALUES: usize = 64 << 20;
/// The newest versions, which are kept whole in any case.
const N_KEPT_VERSIONS: usize = 2;

/// What was made so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// What each life was seen to be told and to do.
    pub(crate) lives: Lives,
    /// What the chief's files must hold.
    pub(crate) files: Files,
    /// Where each generation began.
    pub(crate) generations: BTreeMap<Generation, Origin>,
    versions: BTreeMap<Cut, Version>,
    /// R >= N: where each version was made first. There is one trajectory, so that every later
    /// generation must make it again as it was.
    first: BTreeMap<Step, Cut>,
    n_kept_values: usize,
    /// Up to here only checksums are left.
    shrunk: Cut,
}

/// Where a generation began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The version that was restored.
    pub(crate) step: Step,
    /// The cut of the checkpoint that it was restored from, if it was seen to be read.
    pub(crate) parent: Option<Cut>,
}

/// One version of the cluster's state, and what was computed from it.
#[derive(Debug, Default)]
pub(crate) struct Version {
    /// The shards, as far as they came to it.
    states: BTreeMap<u32, KeptState>,
    /// The gradients that were computed from it.
    gradients: BTreeMap<Slot, Gradient>,
    /// The slots of the update that was begun first.
    pub(crate) update: Option<Vec<Slot>>,
}

/// A gradient that was computed.
#[derive(Debug)]
pub(crate) struct Gradient {
    /// The loss of its batch.
    pub(crate) loss: f32,
    /// One buffer a shard.
    pub(crate) shards: Vec<Kept>,
}

impl Gradient {
    fn is_all(&self, loss: f32, shards: &[Floats]) -> bool {
        self.loss.to_bits() == loss.to_bits()
            && self.shards.len() == shards.len()
            && self.shards.iter().zip(shards).all(|(kept, part)| kept.is(part))
    }
}

impl History {
    /// Adds the input of a turn.
    ///
    /// # Errors
    /// If a state or a gradient was made before, with other bits.
    pub(crate) fn note_input(&mut self, turn: &LifeTurn<'_>) -> Result<(), Violation> {
        self.lives.note_input(turn);
        let LifeTurn { life, config, .. } = *turn;
        match turn.input {
            Input::Network(NetworkEvent::Received {
                message: Message::Restore { cut, state },
                ..
            }) if life.task.job == unisono_core::Job::Ps => {
                self.note_state(config, *cut, life.task.index, state)
            }
            Input::Computed(Done::Gradient { cut, slot, loss, gradient }) => {
                self.note_gradient(config, (*cut, *slot), *loss, gradient)
            }
            Input::Computed(Done::Update { cut, state }) => {
                self.note_state(config, cut.next(), life.task.index, state)
            }
            Input::Stored(event) => {
                let cut = match event {
                    StorageEvent::Restored(Ok(restored)) => self.cut_of(&restored.snapshot),
                    _ => None,
                };
                self.files.note_event(life, event, cut);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Adds the effects of a turn.
    pub(crate) fn note_effects(&mut self, turn: &LifeTurn<'_>) {
        self.lives.note_effects(turn);
        for effect in turn.effects {
            match effect {
                Effect::Compute(Job::Update { cut, gradients, .. }) => {
                    let slots = || gradients.iter().map(|(slot, _)| *slot).collect();
                    self.version_mut(*cut).update.get_or_insert_with(slots);
                }
                Effect::Persist(snapshot) => self.files.note_persist(turn.life, snapshot),
                Effect::Record(update) => self.files.note_record(update),
                Effect::Send { message: Message::Restore { cut, .. }, .. } => {
                    let origin = Origin { step: cut.step, parent: self.files.last_read() };
                    self.generations.entry(cut.generation).or_insert(origin);
                }
                _ => {}
            }
        }
    }

    /// A version, if any shard came to it or anything was computed from it.
    pub(crate) fn version(&self, cut: Cut) -> Option<&Version> {
        self.versions.get(&cut)
    }

    /// A shard's state at a cut, if it came to it.
    pub(crate) fn state(&self, cut: Cut, ps: u32) -> Option<&KeptState> {
        self.version(cut)?.states.get(&ps)
    }

    /// The cut that was last saved of all that have a checkpoint's step and its states: a file says
    /// nothing of its generation.
    pub(crate) fn cut_of(&self, saved: &Snapshot) -> Option<Cut> {
        let is_whole = |cut: &Cut| {
            (0..)
                .zip(&saved.shards)
                .all(|(ps, shard)| self.state(*cut, ps).is_some_and(|made| made.is(shard)))
        };
        self.files.persisted(saved.cut.step).rev().find(is_whole)
    }

    /// Compares parameters with those that a shard had at a cut.
    pub(crate) fn check_parameters(
        &self,
        cut: Cut,
        ps: u32,
        got: &Floats,
        violation: impl Fn(String) -> Violation,
    ) -> Result<(), Violation> {
        match self.state(cut, ps) {
            Some(made) if made.parameters.is(got) => Ok(()),
            Some(made) => {
                Err(violation(format!("the parameters of ps {ps} are not those of {cut}"))
                    .with_first(&made.parameters, got))
            }
            None => Err(violation(format!("ps {ps} never reached {cut}"))),
        }
    }

    /// Compares a part of a gradient, and its loss if one is given, with what was computed.
    pub(crate) fn check_gradient(
        &self,
        (cut, slot): (Cut, Slot),
        ps: u32,
        (loss, part): (Option<f32>, &Floats),
        violation: impl Fn(String) -> Violation,
    ) -> Result<(), Violation> {
        let Some(made) = self.version(cut).and_then(|version| version.gradients.get(&slot)) else {
            return Err(violation(format!("slot {slot} was not computed at {cut}")));
        };
        let kept = made.shards.get(ps as usize);
        let is_loss = loss.is_none_or(|loss| loss.to_bits() == made.loss.to_bits());
        if is_loss && kept.is_some_and(|kept| kept.is(part)) {
            return Ok(());
        }
        let what = format!("the part of ps {ps} is not that of slot {slot}, computed at {cut}");
        Err(kept
            .into_iter()
            .fold(violation(what), |violation, kept| violation.with_first(kept, part)))
    }

    fn version_mut(&mut self, cut: Cut) -> &mut Version {
        self.versions.entry(cut).or_default()
    }

    /// The cuts at which a version must be as it is at `cut`, besides `cut` itself.
    fn twin(&mut self, config: &ClusterConfig, cut: Cut) -> Option<Cut> {
        if config.has_backup_workers() {
            return None;
        }
        let first = *self.first.entry(cut.step).or_insert(cut);
        (first != cut).then_some(first)
    }

    fn note_state(
        &mut self,
        config: &ClusterConfig,
        cut: Cut,
        ps: u32,
        state: &ShardState,
    ) -> Result<(), Violation> {
        let twin = self.twin(config, cut);
        for at in [Some(cut), twin].into_iter().flatten() {
            let Some(made) = self.state(at, ps) else { continue };
            if !made.is(state) {
                let violation = differs(at, cut).of(format_args!("the state of ps {ps}"));
                return Err(violation.with_first(&made.parameters, &state.parameters));
            }
        }
        if self.state(cut, ps).is_none() {
            let kept = KeptState::from(state);
            self.n_kept_values += kept.len();
            self.version_mut(cut).states.insert(ps, kept);
            self.make_room();
        }
        Ok(())
    }

    fn note_gradient(
        &mut self,
        config: &ClusterConfig,
        (cut, slot): (Cut, Slot),
        loss: f32,
        shards: &[Floats],
    ) -> Result<(), Violation> {
        let twin = self.twin(config, cut);
        for at in [Some(cut), twin].into_iter().flatten() {
            let gradients = self.version(at).map(|version| &version.gradients);
            let Some(made) = gradients.and_then(|made| made.get(&slot)) else { continue };
            if !made.is_all(loss, shards) {
                let what = format_args!("the gradient of slot {slot}, with loss {loss}");
                let violation = differs(at, cut).of(what);
                let mut pairs = made.shards.iter().zip(shards);
                return Err(match pairs.find(|(kept, part)| !kept.is(part)) {
                    Some((kept, part)) => violation.with_first(kept, part),
                    None => violation,
                });
            }
        }
        if let Entry::Vacant(place) = self.version_mut(cut).gradients.entry(slot) {
            place.insert(Gradient { loss, shards: shards.iter().map(Kept::from).collect() });
            self.n_kept_values += shards.iter().map(|part| part.len()).sum::<usize>();
            self.make_room();
        }
        Ok(())
    }

    /// Leaves only checksums of the oldest versions, if too much is kept.
    fn make_room(&mut self) {
        while self.n_kept_values > MAX_KEPT_VALUES {
            let after = (Bound::Excluded(self.shrunk), Bound::Unbounded);
            if self.versions.range(after).nth(N_KEPT_VERSIONS).is_none() {
                return;
            }
            let Some((cut, version)) = self.versions.range_mut(after).next() else { return };
            self.shrunk = *cut;
            let states = version.states.values_mut().map(KeptState::shrink).sum::<usize>();
            let gradients = version.gradients.values_mut();
            let parts = gradients.flat_map(|gradient| &mut gradient.shards);
            let freed = states + parts.map(Kept::shrink).sum::<usize>();
            self.n_kept_values = self.n_kept_values.saturating_sub(freed);
        }
    }
}

fn differs(first: Cut, again: Cut) -> Violation {
    let what = format!("made at {first} and again at {again}, with other bits");
    Violation::new(0, "re-execution-differs", what).at(again.step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, LAST, cut, gradient_done, later, ps, worker};

    #[test]
    fn recomputing_the_same_gradient_is_no_violation() {
        let mut run = Fixture::new(2, 2);
        run.computed(worker(0), gradient_done(cut(0), 0, 1.0)).unwrap();
        run.computed(worker(0), gradient_done(cut(0), 0, 1.0)).unwrap();
        run.computed(worker(0), gradient_done(later(0), 0, 1.0)).unwrap();
    }

    #[test]
    fn recomputed_gradient_with_different_bits_is_a_violation() {
        let mut run = Fixture::new(2, 2);
        run.computed(worker(0), gradient_done(cut(0), 0, 1.0)).unwrap();
        for at in [cut(0), later(0)] {
            let violation = run.computed(worker(0), gradient_done(at, 0, 2.0)).unwrap_err();
            assert_eq!(violation.name, "re-execution-differs");
        }
        let mut run = Fixture::new(1, 2);
        run.computed(worker(0), gradient_done(cut(0), 0, 1.0)).unwrap();
        run.computed(worker(0), gradient_done(later(0), 0, 2.0)).unwrap();
    }

    #[test]
    fn recomputed_state_with_different_bits_is_reported_with_step_and_values() {
        let mut run = Fixture::new(2, 2);
        run.restored(ps(0), cut(0), 1.0).unwrap();
        run.updated(ps(0), cut(0), 2.0).unwrap();
        run.restored(ps(0), later(0), 1.0).unwrap();
        let violation = run.updated(ps(0), later(0), 3.0).unwrap_err();
        assert_eq!((violation.rule, violation.step), (0, Some(Step(1))));
        let difference = violation.difference.unwrap();
        assert_eq!((difference.want, difference.got), (2.0, 3.0));
        assert!(LAST > Step(1));
    }

    #[test]
    fn old_versions_are_compared_by_checksum() {
        let mut run = Fixture::new(2, 2);
        for step in 0..5 {
            let done = gradient_done(cut(step), 0, 1.0);
            run.computed(worker(0), done).unwrap();
        }
        run.seen.history.n_kept_values = MAX_KEPT_VALUES + 6;
        run.seen.history.make_room();
        assert_eq!(run.seen.history.shrunk, cut(2));
        run.computed(worker(0), gradient_done(cut(0), 0, 1.0)).unwrap();
        run.computed(worker(0), gradient_done(cut(0), 0, 2.0)).unwrap_err();
    }
}
