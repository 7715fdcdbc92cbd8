//! The content that the chief's files must have, derived from the requests to the chief's storage
//! and from the answers of the storage.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use unisono_core::protocol::{Restored, Snapshot, StorageEvent, UpdateRecord};
use unisono_core::{Cut, Generation, Step};

use crate::life_id::LifeId;

/// The checkpoints and the losses of a run.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// For each step, the generations of the checkpoints that were given to the storage, in the
    /// order of the requests. Each of these checkpoints may be on the disk.
    persisted: BTreeMap<Step, Vec<Generation>>,
    /// The checkpoints that the newest chief has given to its storage and that the storage has not
    /// answered yet, in the order of the requests.
    writing: VecDeque<(LifeId, Cut)>,
    /// The steps of the checkpoints that the storage has reported as durable or has read.
    durable: BTreeSet<Step>,
    /// The state with which the run began; `None` until the storage has read this state.
    pub(crate) base: Option<Arc<Snapshot>>,
    /// The state that the storage has read last, and the process that requested the state.
    given: Option<(LifeId, Arc<Snapshot>)>,
    /// The generation and step of the state that the storage has read last; `None` if they are
    /// unknown.
    pub(crate) last_read: Option<Cut>,
    /// Whether a fault may have damaged the newest checkpoint or removed losses.
    pub(crate) is_damaged: bool,
    /// The updates that must be in the losses file.
    pub(crate) losses: BTreeMap<Step, UpdateRecord>,
    /// The first step whose losses were not recorded in the losses file.
    pub(crate) first_missing: Step,
}

impl Files {
    /// Returns the checkpoints of a step that were given to the storage, in the order of the
    /// requests. The files of these checkpoints have the same name, because the name does not
    /// contain the generation.
    pub(crate) fn persisted(&self, step: Step) -> impl DoubleEndedIterator<Item = Cut> + '_ {
        let generations = self.persisted.get(&step).map_or(&[][..], Vec::as_slice);
        generations.iter().map(move |&generation| Cut { generation, step })
    }

    /// Returns whether the storage has reported a checkpoint of this step as durable, or has read
    /// such a checkpoint.
    pub(crate) fn is_durable(&self, step: Step) -> bool {
        self.durable.contains(&step)
    }

    /// Returns the step of the newest checkpoint that the storage has reported as durable or has
    /// read.
    pub(crate) fn newest_durable(&self) -> Option<Step> {
        self.durable.last().copied()
    }

    /// Returns the state that the storage has read last; `None` if another process requested the
    /// state.
    pub(crate) fn given(&self, to: LifeId) -> Option<&Snapshot> {
        self.given.as_ref().filter(|(life, _)| *life == to).map(|(_, snapshot)| &**snapshot)
    }

    pub(crate) fn note_persist(&mut self, life: LifeId, snapshot: &Snapshot) {
        let cut = snapshot.cut;
        self.persisted.entry(cut.step).or_default().push(cut.generation);
        // The storage does not answer a chief that has died, so the requests of earlier processes
        // are removed.
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

    /// Notes an answer of the storage. `cut` is the generation and step of a checkpoint that was
    /// read; `None` if they are unknown.
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
            // The losses file already has the rows before the first checkpoint that is read,
            // because an earlier run wrote them.
            self.first_missing = snapshot.cut.step;
        }
        self.given = Some((life, Arc::clone(snapshot)));
        self.last_read = cut;
        if from.is_some() {
            self.durable.insert(snapshot.cut.step);
        }
    }
}
