//! Where a worker's work stands: which whole version it was given last.

use unisono_core::{Cut, Incarnation, TaskId};

/// What a worker was told of each shard.
#[derive(Debug)]
pub(crate) struct Work {
    /// The life of each ps that it knows, and the version that came of it last.
    shards: Vec<(Option<Incarnation>, Option<Cut>)>,
    whole: Option<Cut>,
}

impl Work {
    pub(crate) fn new(n_ps: u32) -> Self {
        Self { shards: vec![(None, None); n_ps as usize], whole: None }
    }

    /// The version that it held of every shard at once, last.
    pub(crate) const fn whole(&self) -> Option<Cut> {
        self.whole
    }

    pub(crate) fn note_version(&mut self, ps: TaskId, cut: Cut) {
        let Some((_, last)) = self.shards.get_mut(ps.index as usize) else { return };
        *last = Some(cut);
        if self.shards.iter().all(|(_, last)| *last == Some(cut)) {
            self.whole = Some(cut);
        }
    }

    /// A new life of a ps knows nothing of what an earlier one sent.
    pub(crate) fn note_life(&mut self, ps: TaskId, incarnation: Incarnation) {
        let Some(shard) = self.shards.get_mut(ps.index as usize) else { return };
        if shard.0 != Some(incarnation) {
            *shard = (Some(incarnation), None);
        }
    }
}
