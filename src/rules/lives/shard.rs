//! Where a ps's shard stands, which gradients it must hold, and what must become of the next one.

use std::collections::{BTreeMap, BTreeSet};

use unisono_core::protocol::{ClusterConfig, Effect, Job, Message, Report, ShardState, Verdict};
use unisono_core::{Cut, Floats, LinkId, Slot, TaskId};

use crate::stamp::Stamp;

/// A shard, as its ps's inputs and effects tell.
#[derive(Debug, Default)]
pub struct Shard {
    /// Where it stands; `None` until it was restored.
    pub cut: Option<Cut>,
    /// Where it stood before its last update.
    pub previous: Option<Cut>,
    /// The gradients of this cut that came and were neither used nor dropped.
    pub held: BTreeMap<Slot, Held>,
    /// R < N: the slots of the next update, once its ps knows them.
    pub chosen: Option<Vec<Slot>>,
    /// R < N, ps 0: what was chosen last, and where.
    pub choice: Option<(Cut, Vec<Slot>)>,
    /// Updates of this cut that were begun.
    pub n_begun: usize,
    /// A gradient that was neither used nor dropped when its cut was left by an update.
    pub lost: Option<(Cut, Slot)>,
    /// R < N, ps 0: which shards hold a slot, and the slots that all hold, as it learned it.
    holders: BTreeMap<Slot, BTreeSet<u32>>,
    whole: Vec<Slot>,
}

/// A gradient that is held.
#[derive(Debug)]
pub struct Held {
    /// The loss of its batch.
    pub loss: f32,
    /// The shard's part of it.
    pub gradient: Floats,
}

/// A gradient that comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed<'a> {
    /// The link that it comes on.
    pub link: LinkId,
    /// Who pushes.
    pub worker: TaskId,
    /// The version it was computed from.
    pub cut: Cut,
    /// Which unit of work it is.
    pub slot: Slot,
    /// The loss of its batch.
    pub loss: f32,
    /// The shard's part of it.
    pub gradient: &'a Floats,
}

/// What must become of a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is new, and to be held.
    Accepted,
    /// Its identity is held already, with the same bits.
    Duplicate,
    /// Its identity is held already, with other bits.
    Diverged,
    /// It is of an older version.
    Stale,
    /// It is of another generation, or the shard is of none.
    Fenced,
    /// R < N: the slots of the update are chosen, and it is not among them.
    Surplus,
    /// No honest worker sends it.
    Wrong,
}

impl Pushed<'_> {
    /// Whether its worker is told this verdict.
    pub(crate) fn is_told(&self, effects: &[Effect], wanted: Verdict) -> bool {
        effects.iter().any(|effect| match effect {
            Effect::Send { link, message: Message::PushReply { cut, slot, verdict } } => {
                let cut = *cut;
                (*link, cut, *slot, *verdict) == (self.link, self.cut, self.slot, wanted)
            }
            _ => false,
        })
    }

    /// Whether it is counted as dropped, for this reason.
    pub(crate) fn is_counted(&self, effects: &[Effect], wanted: Option<Verdict>) -> bool {
        effects.iter().any(|effect| match effect {
            Effect::Report(Report::Dropped { step, slot, worker, verdict }) => {
                (*step, *slot, *worker) == (self.cut.step, self.slot, self.worker)
                    && *verdict == wanted
            }
            _ => false,
        })
    }
}

impl Shard {
    /// What must become of a gradient (rules 4, 5 and 8).
    #[must_use]
    pub(crate) fn fate(&self, config: &ClusterConfig, pushed: &Pushed<'_>) -> Fate {
        let Some(cut) = self.cut else { return Fate::Fenced };
        if pushed.slot.0 >= config.sync.slots_per_step() {
            return Fate::Wrong;
        }
        if pushed.cut.generation != cut.generation {
            return Fate::Fenced;
        }
        match pushed.cut.step.cmp(&cut.step) {
            std::cmp::Ordering::Less => Fate::Stale,
            std::cmp::Ordering::Greater => Fate::Wrong,
            std::cmp::Ordering::Equal => self.fate_here(pushed),
        }
    }

    fn fate_here(&self, pushed: &Pushed<'_>) -> Fate {
        if let Some(held) = self.held.get(&pushed.slot) {
            let same =
                held.loss.to_bits() == pushed.loss.to_bits() && held.gradient == *pushed.gradient;
            return if same { Fate::Duplicate } else { Fate::Diverged };
        }
        let is_beside = |chosen: &Vec<Slot>| !chosen.contains(&pushed.slot);
        if self.n_begun > 0 || self.chosen.as_ref().is_some_and(is_beside) {
            Fate::Surplus
        } else {
            Fate::Accepted
        }
    }

    pub(crate) fn accept(&mut self, stamp: Stamp<'_>, pushed: &Pushed<'_>) {
        let held = || Held { loss: pushed.loss, gradient: pushed.gradient.clone() };
        self.held.entry(pushed.slot).or_insert_with(held);
        if stamp.life.task == TaskId::PS_ZERO {
            self.note_whole(stamp.config, pushed.cut, TaskId::PS_ZERO, pushed.slot);
        }
    }

    pub(crate) fn note_message(
        &mut self,
        stamp: Stamp<'_>,
        peer: TaskId,
        message: &Message,
        effects: &[Effect],
    ) {
        match message {
            Message::Restore { cut: Cut { generation, step }, .. } => {
                let restored = |effect: &Effect| {
                    matches!(effect, Effect::Send { message: Message::Restored { generation: of }, .. }
                        if of == generation)
                };
                let is_other = self.cut.map(|cut| cut.generation) != Some(*generation);
                if is_other && effects.iter().any(restored) {
                    let cut = Cut { generation: *generation, step: *step };
                    *self = Self { cut: Some(cut), ..Self::default() };
                }
            }
            Message::Received { cut, slots } if stamp.life.task == TaskId::PS_ZERO => {
                let cut = *cut;
                for slot in slots {
                    self.note_whole(stamp.config, cut, peer, *slot);
                }
            }
            Message::Chosen { cut, slots } if self.n_begun == 0 => {
                let cut = *cut;
                if self.cut == Some(cut) {
                    self.chosen = Some(slots.clone());
                }
            }
            _ => {}
        }
    }

    /// Rule 2: ps 0 learns that a shard holds a slot.
    fn note_whole(&mut self, config: &ClusterConfig, cut: Cut, ps: TaskId, slot: Slot) {
        let is_choosing = config.has_backup_workers() && self.chosen.is_none();
        if !is_choosing || self.cut != Some(cut) || slot.0 >= config.sync.slots_per_step() {
            return;
        }
        let holders = self.holders.entry(slot).or_default();
        if holders.insert(ps.index) && holders.len() == config.n_ps as usize {
            self.whole.push(slot);
        }
        if self.whole.len() == config.sync.replicas_to_aggregate as usize {
            let mut slots = self.whole.clone();
            slots.sort_unstable();
            self.choice = Some((cut, slots.clone()));
            self.chosen = Some(slots);
        }
    }

    pub(crate) fn note_effect(&mut self, effect: &Effect) {
        let Some(cut) = self.cut else { return };
        match effect {
            Effect::Report(Report::Dropped { step, slot, verdict: None, .. })
                if *step == cut.step =>
            {
                self.held.remove(slot);
            }
            Effect::Report(Report::Updated { cut: Cut { generation, step }, slots })
                if (cut.generation, cut.step) == (*generation, *step) =>
            {
                let unused = self.held.keys().copied().find(|slot| !slots.contains(slot));
                *self = Self {
                    cut: Some(cut.next()),
                    previous: Some(cut),
                    choice: self.choice.take(),
                    lost: unused.map(|slot| (cut, slot)),
                    ..Self::default()
                };
            }
            Effect::Compute(Job::Update { .. }) => self.n_begun += 1,
            _ => {}
        }
    }

    /// The state of a message that carries one.
    pub(crate) const fn carried(message: &Message) -> Option<(Cut, &ShardState)> {
        match message {
            Message::Restore { cut, state } | Message::Captured { cut, state } => {
                Some((*cut, state))
            }
            _ => None,
        }
    }
}
