//! All states and gradients that were computed in a run. A state or a gradient that is computed
//! twice must have the same bits both times.
//!
//! Each rule compares every turn (one handled input with its effects) with this history.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use unisono_core::protocol::{
    ClusterConfig, Done, Effect, Input, Job, Message, NetworkEvent, Snapshot, StorageEvent,
};
use unisono_core::{Cut, Floats, Generation, Slot, Step};

use crate::files::Files;
use crate::life_turn::LifeTurn;
use crate::lives::Lives;
use crate::made::{Kept, Key, Made};
use crate::violation::Violation;

/// The maximum number of values, of 4 bytes each, in the copies that are kept whole. Beyond this
/// number, only checksums of the oldest copies are kept. Most copies share their memory with the
/// nodes and with the cache of computed results.
const MAX_KEPT_VALUES: usize = 64 << 20;
/// The number of the newest versions that are always kept whole.
const N_KEPT_VERSIONS: usize = 2;

/// The history of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) lives: Lives,
    pub(crate) files: Files,
    /// The first version of each generation.
    pub(crate) generations: BTreeMap<Generation, Origin>,
    versions: BTreeMap<Cut, Version>,
    /// If R >= N, the generation and step at which each version was computed first. A later
    /// generation computes the same version with the same bits, because update k is a pure function
    /// of k.
    first: BTreeMap<Step, Cut>,
    n_kept_values: usize,
    /// The newest version that is kept only as checksums. All older versions are kept only as
    /// checksums, too.
    shrunk: Cut,
}

/// The first version of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) step: Step,
    /// The generation and step of the checkpoint from which the generation was restored; `None` if
    /// they are unknown.
    pub(crate) parent: Option<Cut>,
}

/// The states of a version, and the gradients that were computed from this version.
#[derive(Debug, Default)]
struct Version {
    made: BTreeMap<Key, Made>,
    /// The slots of the first update that a shard began from this version.
    update: Option<Vec<Slot>>,
}

impl History {
    /// Adds the input of a turn to the history.
    ///
    /// # Errors
    /// Returns an error if a state or a gradient was made before, with other bits.
    pub(crate) fn note_input(&mut self, turn: &LifeTurn<'_>) -> Result<(), Violation> {
        self.lives.note_input(turn);
        let state = Key::State(turn.life.task.index);
        match turn.input {
            Input::Network(NetworkEvent::Received {
                message: Message::Restore { cut, state: restored },
                ..
            }) if turn.life.task.job == unisono_core::Job::Ps => {
                self.note_made(turn.config, *cut, state, restored.into())
            }
            Input::Computed(Done::Gradient { cut, slot, loss, gradient }) => {
                let made = Made::gradient(*loss, gradient);
                self.note_made(turn.config, *cut, Key::Gradient(*slot), made)
            }
            Input::Computed(Done::Update { cut, state: updated }) => {
                self.note_made(turn.config, cut.next(), state, updated.into())
            }
            Input::Stored(event) => {
                let cut = match event {
                    StorageEvent::Restored(Ok(restored)) => self.cut_of(&restored.snapshot),
                    _ => None,
                };
                self.files.note_event(turn.life, event, cut);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Adds the effects of a turn to the history.
    pub(crate) fn note_effects(&mut self, turn: &LifeTurn<'_>) {
        self.lives.note_effects(turn);
        for effect in turn.effects {
            match effect {
                Effect::Compute(Job::Update { cut, gradients, .. }) => {
                    let slots = || gradients.iter().map(|(slot, _)| *slot).collect();
                    self.versions.entry(*cut).or_default().update.get_or_insert_with(slots);
                }
                Effect::Persist(snapshot) => self.files.note_persist(turn.life, snapshot),
                Effect::Record(update) => self.files.note_record(update),
                Effect::Send { message: Message::Restore { cut, .. }, .. } => {
                    let origin = Origin { step: cut.step, parent: self.files.last_read };
                    self.generations.entry(cut.generation).or_insert(origin);
                }
                _ => {}
            }
        }
    }

    /// Returns the slots of the first update that a shard began from the version `cut`.
    pub(crate) fn slots_of_update(&self, cut: Cut) -> Option<&Vec<Slot>> {
        self.versions.get(&cut)?.update.as_ref()
    }

    /// Returns the first copy of a state or a gradient at the version `cut`.
    pub(crate) fn made(&self, cut: Cut, key: Key) -> Option<&Made> {
        self.versions.get(&cut)?.made.get(&key)
    }

    /// Returns the generation and step of a checkpoint. The file of a checkpoint does not contain
    /// the generation, so this function searches the checkpoints of the same step for equal states,
    /// the newest checkpoint first.
    pub(crate) fn cut_of(&self, saved: &Snapshot) -> Option<Cut> {
        let shards: Vec<_> = saved.shards.iter().map(Made::from).collect();
        let is_whole = |cut: &Cut| {
            let made = |ps| self.made(*cut, Key::State(ps));
            (0..).zip(&shards).all(|(ps, shard)| made(ps).is_some_and(|made| made.is(shard)))
        };
        self.files.persisted(saved.cut.step).rev().find(is_whole)
    }

    /// Compares the buffer `got` with the first copy of this buffer at the version `cut`.
    pub(crate) fn check(
        &self,
        (cut, key, buffer): (Cut, Key, u32),
        got: &Floats,
        violation: impl Fn(String) -> Violation,
    ) -> Result<(), Violation> {
        let Some(made) = self.made(cut, key) else {
            return Err(violation(format!("{key} was never made at {cut}")));
        };
        let kept = made.buffers.get(buffer as usize);
        if kept.is_some_and(|kept| kept.is(got)) {
            return Ok(());
        }
        let what = format!("at {cut}, {key} differs from the bits that were computed first");
        Err(violation(what).differing(kept.and_then(Kept::whole), got))
    }

    fn note_made(
        &mut self,
        config: &ClusterConfig,
        cut: Cut,
        key: Key,
        made: Made,
    ) -> Result<(), Violation> {
        let twin = (!config.has_backup_workers())
            .then(|| *self.first.entry(cut.step).or_insert(cut))
            .filter(|first| *first != cut);
        for at in [Some(cut), twin].into_iter().flatten() {
            if let Some(first) = self.made(at, key).filter(|first| !first.is(&made)) {
                let what = format!("made at {at} and again at {cut}, with different bits");
                let violation =
                    Violation::new(0, "re-execution-differs", what).at(cut.step).of(key);
                let difference = first.first_difference(&made);
                return Err(difference.into_iter().fold(violation, |violation, (kept, got)| {
                    violation.differing(kept.whole(), got)
                }));
            }
        }
        if let Entry::Vacant(place) = self.versions.entry(cut).or_default().made.entry(key) {
            self.n_kept_values += made.n_values();
            place.insert(made);
            self.make_room();
        }
        Ok(())
    }

    /// Replaces the oldest versions by their checksums, if too many values are kept.
    fn make_room(&mut self) {
        while self.n_kept_values > MAX_KEPT_VALUES {
            let after = (Bound::Excluded(self.shrunk), Bound::Unbounded);
            if self.versions.range(after).nth(N_KEPT_VERSIONS).is_none() {
                return;
            }
            let Some((cut, version)) = self.versions.range_mut(after).next() else { return };
            self.shrunk = *cut;
            for made in version.made.values_mut() {
                self.n_kept_values = self.n_kept_values.saturating_sub(made.n_values());
                made.buffers.iter_mut().for_each(Kept::shrink);
            }
        }
    }
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
