//! What the chief's files must hold, as its storage was asked and answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use unisono_core::protocol::{Restored, Snapshot, StorageEvent, UpdateRecord};
use unisono_core::{Cut, Generation, Step};

use crate::life_id::LifeId;

/// Checkpoints and losses.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Checkpoints that were given to the storage, by step, in order; each may be on the disk.
    persisted: BTreeMap<Step, Vec<Generation>>,
    /// Those of a life that its storage has not answered yet, in order.
    writing: VecDeque<(LifeId, Cut)>,
    /// Steps of checkpoints that were said to be durable, or were read.
    durable: BTreeSet<Step>,
    /// Where a run begins that has no checkpoint of its own yet.
    base: Option<Arc<Snapshot>>,
    /// The state that the storage has read last, and for which life.
    given: Option<(LifeId, Arc<Snapshot>)>,
    /// The cut of that state, if it is known.
    last_read: Option<Cut>,
    is_damaged: bool,
    /// Updates as they must be in the losses file.
    losses: BTreeMap<Step, UpdateRecord>,
    /// The first step that is not in it.
    first_missing: Step,
}

impl Files {
    /// A fault has damaged what was durable, or damages what is read, or a sync lied: from now on
    /// an older checkpoint than the newest may be found, and losses may be missing.
    pub(crate) const fn damaged(&mut self) {
        self.is_damaged = true;
    }

    /// Whether the newest checkpoint may be found damaged.
    pub(crate) const fn may_be_damaged(&self) -> bool {
        self.is_damaged
    }

    /// The checkpoints of this step that were given to the storage, in order. Files of one step have
    /// one name, and do not tell which of them they are.
    pub(crate) fn persisted(&self, step: Step) -> impl DoubleEndedIterator<Item = Cut> + '_ {
        let generations = self.persisted.get(&step).map_or(&[][..], Vec::as_slice);
        generations.iter().map(move |&generation| Cut { generation, step })
    }

    /// Whether a checkpoint of this step was said to be durable, or was read.
    pub(crate) fn is_durable(&self, step: Step) -> bool {
        self.durable.contains(&step)
    }

    /// The newest checkpoint that was said to be durable, or was read.
    pub(crate) fn newest_durable(&self) -> Option<Step> {
        self.durable.last().copied()
    }

    /// What the run began with, once it was read.
    pub(crate) const fn base(&self) -> Option<&Arc<Snapshot>> {
        self.base.as_ref()
    }

    /// Returns the state that the storage has read last, if it was for this life.
    pub(crate) fn given(&self, to: LifeId) -> Option<&Snapshot> {
        self.given.as_ref().filter(|(life, _)| *life == to).map(|(_, snapshot)| &**snapshot)
    }

    /// The cut of the checkpoint that was read last.
    pub(crate) const fn last_read(&self) -> Option<Cut> {
        self.last_read
    }

    /// The first step whose losses are not in the file.
    pub(crate) const fn first_missing(&self) -> Step {
        self.first_missing
    }

    /// The updates that must be in the losses file.
    pub(crate) const fn losses(&self) -> &BTreeMap<Step, UpdateRecord> {
        &self.losses
    }

    pub(crate) fn note_persist(&mut self, life: LifeId, snapshot: &Snapshot) {
        let cut = snapshot.cut;
        self.persisted.entry(cut.step).or_default().push(cut.generation);
        // What a dead life asked for is answered to nobody.
        self.writing.retain(|(of, _)| *of == life);
        self.writing.push_back((life, cut));
    }

    pub(crate) fn note_record(&mut self, update: &UpdateRecord) {
        self.losses.split_off(&update.cut.step);
        self.losses.insert(update.cut.step, update.clone());
        if update.cut.step <= self.first_missing {
            self.first_missing = update.cut.step.next();
        }
    }

    /// `cut` is that of the checkpoint that was read, if one was.
    pub(crate) fn note_event(&mut self, life: LifeId, event: &StorageEvent, cut: Option<Cut>) {
        match event {
            StorageEvent::Restored(Ok(restored)) => self.note_read(life, restored, cut),
            StorageEvent::Restored(Err(_)) | StorageEvent::NotRepeated(_) => {}
            StorageEvent::Persisted { result, .. } => {
                let asked = self.writing.iter().position(|(of, _)| *of == life);
                let written = asked.and_then(|asked| self.writing.remove(asked));
                if let (Some((_, cut)), Ok(_)) = (written, result) {
                    self.durable.insert(cut.step);
                }
            }
        }
    }

    fn note_read(
        &mut self,
        life: LifeId,
        Restored { snapshot, from }: &Restored,
        cut: Option<Cut>,
    ) {
        if self.persisted.is_empty() && self.base.is_none() {
            self.base = Some(Arc::clone(snapshot));
            // The rows below a checkpoint that was there before are there, too.
            self.first_missing = snapshot.cut.step;
        }
        self.given = Some((life, Arc::clone(snapshot)));
        self.last_read = cut;
        if from.is_some() {
            self.durable.insert(snapshot.cut.step);
        }
    }
}
