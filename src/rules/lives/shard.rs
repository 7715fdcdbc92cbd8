//! The version of a shard, the gradients that the shard must hold, and the treatment that the rules
//! require for the next gradient.

use std::collections::{BTreeMap, BTreeSet};

use unisono_core::protocol::{ClusterConfig, Effect, Job, Message, Report, Verdict};
use unisono_core::{Cut, Floats, LinkId, Slot, TaskId};

use crate::life_turn::LifeTurn;
use unisono_core::slots::Age;

/// The state of a shard, derived from the inputs and effects of its ps.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// The generation and step of the current version; `None` until the shard was restored.
    pub(crate) cut: Option<Cut>,
    /// The generation and step of the version before the last update.
    pub(crate) previous: Option<Cut>,
    /// The gradients of the current version that have arrived and were neither used nor dropped.
    pub(crate) held: BTreeMap<Slot, Held>,
    /// If R < N, the slots of the next update; `None` until the ps knows them.
    pub(crate) chosen: Option<Vec<Slot>>,
    /// If R < N, the slots that ps 0 must choose, with the generation and step of their update.
    /// Used only on ps 0.
    pub(crate) choice: Option<(Cut, Vec<Slot>)>,
    /// The number of updates that the ps has begun from the current version.
    pub(crate) n_begun: usize,
    /// A gradient of the previous version that the shard held, but neither used nor reported as
    /// dropped.
    pub(crate) lost: Option<(Cut, Slot)>,
    /// If R < N, the shards that hold each slot, to the knowledge of ps 0. Used only on ps 0.
    holders: BTreeMap<Slot, BTreeSet<u32>>,
    /// If R < N, the slots that all shards hold, in the order in which ps 0 learns of them. Used
    /// only on ps 0.
    whole: Vec<Slot>,
}

/// A gradient that a shard holds.
#[derive(Debug)]
pub(crate) struct Held {
    /// The loss of the gradient's batch.
    pub(crate) loss: f32,
    /// The shard's part of the gradient.
    pub(crate) gradient: Floats,
}

/// A gradient that arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed<'a> {
    /// The link on which the gradient arrives.
    pub(crate) link: LinkId,
    /// The worker that pushes the gradient.
    pub(crate) worker: TaskId,
    /// The version from which the gradient was computed.
    pub(crate) cut: Cut,
    /// The slot.
    pub(crate) slot: Slot,
    /// The loss of the gradient's batch.
    pub(crate) loss: f32,
    /// The shard's part of the gradient.
    pub(crate) gradient: &'a Floats,
}

/// The treatment that the rules require for an arriving gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The gradient is new, and the shard must keep it until the update.
    Accepted,
    /// The shard holds a copy with the same bits.
    Duplicate,
    /// The shard holds a gradient of the same identity with different bits.
    Diverged,
    /// The gradient is of an older version.
    Stale,
    /// The gradient is of another generation, or the shard is empty.
    Fenced,
    /// If R < N, the slots of the update are chosen, and the slot of the gradient is not among
    /// them.
    Surplus,
    /// No honest worker sends such a gradient.
    Wrong,
}

impl Pushed<'_> {
    /// Returns whether the effects send a verdict to the worker, and count the gradient with this
    /// verdict.
    pub(crate) fn is_answered(&self, effects: &[Effect], verdict: Verdict) -> bool {
        self.is_told(effects, verdict) && self.is_counted(effects, Some(verdict))
    }

    /// Returns whether the effects send a verdict to the worker.
    pub(crate) fn is_told(&self, effects: &[Effect], wanted: Verdict) -> bool {
        effects.iter().any(|effect| match effect {
            Effect::Send { link, message: Message::PushReply { cut, slot, verdict } } => {
                (*link, *cut, *slot, *verdict) == (self.link, self.cut, self.slot, wanted)
            }
            _ => false,
        })
    }

    /// Returns whether the effects count the gradient as dropped, with the verdict `wanted`.
    pub(crate) fn is_counted(&self, effects: &[Effect], wanted: Option<Verdict>) -> bool {
        let dropped = Effect::Report(Report::Dropped {
            step: self.cut.step,
            slot: self.slot,
            worker: self.worker,
            verdict: wanted,
        });
        effects.contains(&dropped)
    }
}

impl Shard {
    /// Returns the treatment that rules 4, 5 and 8 require for a gradient.
    pub(crate) fn fate(&self, config: &ClusterConfig, pushed: &Pushed<'_>) -> Fate {
        let age = Age::of(pushed.cut, self.cut);
        if self.cut.is_some() && pushed.slot.0 >= config.sync.slots_per_step() {
            return Fate::Wrong;
        }
        match age {
            Age::OtherGeneration => Fate::Fenced,
            Age::Older => Fate::Stale,
            Age::Current => self.fate_here(pushed),
            Age::Newer => Fate::Wrong,
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

    pub(crate) fn accept(&mut self, turn: &LifeTurn<'_>, pushed: &Pushed<'_>) {
        let held = || Held { loss: pushed.loss, gradient: pushed.gradient.clone() };
        self.held.entry(pushed.slot).or_insert_with(held);
        if turn.life.task == TaskId::PS_ZERO {
            self.note_whole(turn.config, pushed.cut, TaskId::PS_ZERO, pushed.slot);
        }
    }

    pub(crate) fn note_message(&mut self, turn: &LifeTurn<'_>, peer: TaskId, message: &Message) {
        match message {
            Message::Restore { cut, .. } => {
                let restored = |effect: &Effect| {
                    matches!(effect, Effect::Send { message: Message::Restored { generation }, .. }
                        if *generation == cut.generation)
                };
                let is_other = self.cut.map(|cut| cut.generation) != Some(cut.generation);
                if is_other && turn.effects.iter().any(restored) {
                    *self = Self { cut: Some(*cut), ..Self::default() };
                }
            }
            Message::Received { cut, slots } if turn.life.task == TaskId::PS_ZERO => {
                for slot in slots {
                    self.note_whole(turn.config, *cut, peer, *slot);
                }
            }
            Message::Chosen { cut, slots } if self.n_begun == 0 && self.cut == Some(*cut) => {
                self.chosen = Some(slots.clone());
            }
            _ => {}
        }
    }

    /// Notes that ps 0 learns that a shard holds the gradient of a slot (rule 2).
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
            Effect::Report(Report::Updated { cut: updated, slots }) if *updated == cut => {
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
}
