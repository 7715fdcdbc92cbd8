//! Where a worker's work stands: which whole version it was given last.

use unisono_core::{Cut, Incarnation, TaskId};

/// What a worker was told of each shard.
#[derive(Debug)]
pub struct Work {
    /// The life of each ps that it knows, and the version that came of it last.
    shards: Vec<(Option<Incarnation>, Option<Cut>)>,
    whole: Option<Cut>,
}

impl Work {
    pub(super) fn new(n_ps: u32) -> Self {
        Self { shards: vec![(None, None); n_ps as usize], whole: None }
    }

    /// The version that it held of every shard at once, last.
    #[must_use]
    pub const fn whole(&self) -> Option<Cut> {
        self.whole
    }

    pub(super) fn note_version(&mut self, ps: TaskId, cut: Cut) {
        let Some((_, last)) = self.shards.get_mut(ps.index as usize) else { return };
        *last = Some(cut);
        if self.shards.iter().all(|(_, last)| *last == Some(cut)) {
            self.whole = Some(cut);
        }
    }

    /// A new life of a ps knows nothing of what an earlier one sent.
    pub(super) fn note_life(&mut self, ps: TaskId, incarnation: Incarnation) {
        let Some(shard) = self.shards.get_mut(ps.index as usize) else { return };
        if shard.0 != Some(incarnation) {
            *shard = (Some(incarnation), None);
        }
    }
}
