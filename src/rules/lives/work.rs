//! The last whole version that a worker has received.

use unisono_core::{Cut, Incarnation, TaskId};

/// The versions that a worker has received.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// For each ps, the known incarnation of the ps, and the last version that this incarnation
    /// sent.
    shards: Vec<(Option<Incarnation>, Option<Cut>)>,
    /// The last version of which the worker held all shards at the same time.
    pub(crate) whole: Option<Cut>,
}

impl Work {
    pub(crate) fn new(n_ps: u32) -> Self {
        Self { shards: vec![(None, None); n_ps as usize], whole: None }
    }

    pub(crate) fn note_version(&mut self, ps: TaskId, cut: Cut) {
        let Some((_, last)) = self.shards.get_mut(ps.index as usize) else { return };
        *last = Some(cut);
        if self.shards.iter().all(|(_, last)| *last == Some(cut)) {
            self.whole = Some(cut);
        }
    }

    /// Notes the incarnation of a ps. If the incarnation is new, the version that an earlier
    /// incarnation sent is forgotten.
    pub(crate) fn note_life(&mut self, ps: TaskId, incarnation: Incarnation) {
        let Some(shard) = self.shards.get_mut(ps.index as usize) else { return };
        if shard.0 != Some(incarnation) {
            *shard = (Some(incarnation), None);
        }
    }
}
