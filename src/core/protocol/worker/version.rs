//! What a worker knows of each shard, and whether it makes a whole version.

use crate::floats::Floats;
use crate::ids::{Cut, Slot};

/// The newest version of one shard that came.
#[derive(Clone, Debug)]
pub(super) struct ShardVersion {
    pub(super) cut: Cut,
    /// From ps 0: the slots that this worker may compute.
    pub(super) tokens: Vec<Slot>,
    /// The worker's slots that the shard holds already.
    pub(super) received: Vec<Slot>,
    pub(super) parameters: Floats,
}

/// What is known of one shard.
#[derive(Clone, Debug, Default)]
struct Known {
    version: Option<ShardVersion>,
    /// The oldest version that its ps was asked for, and has not answered yet.
    asked: Option<Cut>,
}

/// The shards' versions, as far as they have come.
#[derive(Debug)]
pub(super) struct Versions(Vec<Known>);

impl Versions {
    pub(super) fn new(n_ps: u32) -> Self {
        Self(vec![Known::default(); n_ps as usize])
    }

    /// A version came, and answers what was asked.
    pub(super) fn insert(&mut self, ps: u32, version: ShardVersion) {
        self.0[ps as usize] = Known { version: Some(version), asked: None };
    }

    /// The ps was asked for a version.
    pub(super) fn mark_asked(&mut self, ps: u32, at_least: Cut) {
        self.0[ps as usize].asked = Some(at_least);
    }

    /// What the ps was asked is lost with its link.
    pub(super) fn link_lost(&mut self, ps: u32) {
        self.0[ps as usize].asked = None;
    }

    /// The ps has started anew: what it sent before is of a state that is no more.
    pub(super) fn forget(&mut self, ps: u32) {
        self.0[ps as usize] = Known::default();
    }

    /// The cut of a shard's version, if one came.
    pub(super) fn cut_of(&self, ps: u32) -> Option<Cut> {
        self.0[ps as usize].version.as_ref().map(|version| version.cut)
    }

    /// The newest cut that any shard has.
    pub(super) fn newest(&self) -> Option<Cut> {
        self.0.iter().filter_map(|known| known.version.as_ref()).map(|version| version.cut).max()
    }

    /// Rule 6: the cut of which every shard's version is, if there is one.
    pub(super) fn whole_cut(&self) -> Option<Cut> {
        let cut = self.0.first()?.version.as_ref()?.cut;
        let is_of_it = |version: &ShardVersion| version.cut == cut;
        self.0.iter().all(|known| known.version.as_ref().is_some_and(is_of_it)).then_some(cut)
    }

    /// Every shard's version, if all are of one cut.
    pub(super) fn whole(&self) -> Option<(Cut, Vec<&ShardVersion>)> {
        Some((self.whole_cut()?, self.all()?.collect()))
    }

    /// Every shard's version, if all have come.
    fn all(&self) -> Option<impl Iterator<Item = &ShardVersion> + Clone> {
        let versions = self.0.iter().map(|known| known.version.as_ref());
        versions.clone().all(|version| version.is_some()).then(|| versions.flatten())
    }

    /// Which ps have to be asked, and for what, to get to `target`. A shard of which nothing is
    /// known is asked where it stands: it may be behind the others, and wait for this worker.
    pub(super) fn pulls_due(&self, target: Cut) -> Vec<(u32, Cut)> {
        let ask = |(ps, known): (u32, &Known)| match (&known.version, known.asked) {
            (None, None) => Some((ps, Cut::default())),
            (Some(version), asked) if version.cut < target => {
                asked.is_none_or(|asked| asked < target).then_some((ps, target))
            }
            (None | Some(_), _) => None,
        };
        (0..).zip(&self.0).filter_map(ask).collect()
    }

    /// Whether a ps was asked for something, and has not answered yet.
    pub(super) fn is_asked(&self, ps: u32) -> bool {
        self.0[ps as usize].asked.is_some()
    }

    /// Whether the shards stand at two consecutive versions, and one at the older lacks a slot of
    /// `slots`: an earlier life of this worker died while it pushed. The older cut, and the ps that
    /// are past it.
    pub(super) fn torn_update(
        &self,
        slots: impl Iterator<Item = Slot> + Clone,
    ) -> Option<(Cut, Vec<u32>)> {
        let versions = self.all()?;
        let oldest = versions.clone().map(|version| version.cut).min()?;
        let lacks = |version: &ShardVersion| {
            version.cut == oldest && slots.clone().any(|slot| !version.received.contains(&slot))
        };
        if !versions.clone().any(lacks) {
            return None;
        }
        let past =
            |(ps, version): (u32, &ShardVersion)| (version.cut == oldest.next()).then_some(ps);
        Some((oldest, (0..).zip(versions).filter_map(past).collect()))
    }

    /// The ps whose version `cut` is still to come.
    pub(super) fn missing(&self, cut: Cut) -> impl Iterator<Item = u32> {
        let lacks =
            move |known: &Known| known.version.as_ref().is_none_or(|version| version.cut < cut);
        (0..).zip(&self.0).filter(move |(_, known)| lacks(known)).map(|(ps, _)| ps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Step};

    fn cut(step: u64) -> Cut {
        Cut { generation: Generation::default(), step: Step(step) }
    }

    fn version(step: u64) -> ShardVersion {
        ShardVersion {
            cut: cut(step),
            tokens: Vec::new(),
            received: Vec::new(),
            parameters: Floats::default(),
        }
    }

    #[test]
    fn versions_are_whole_only_when_all_shards_have_the_same() {
        let mut versions = Versions::new(2);
        assert!(versions.whole().is_none());
        versions.insert(0, version(4));
        assert!(versions.whole().is_none());
        versions.insert(1, version(5));
        assert!(versions.whole().is_none());
        versions.insert(0, version(5));
        assert_eq!(versions.whole().map(|(cut, shards)| (cut, shards.len())), Some((cut(5), 2)));
    }

    #[test]
    fn a_shard_that_lags_is_asked_once() {
        let mut versions = Versions::new(2);
        versions.insert(0, version(4));
        assert_eq!(versions.pulls_due(cut(4)), [(1, Cut::default())], "where does it stand?");
        versions.insert(1, version(6));
        assert_eq!(versions.pulls_due(cut(6)), [(0, cut(6))]);
        versions.mark_asked(0, cut(6));
        assert_eq!(versions.pulls_due(cut(6)), []);
        assert_eq!(versions.missing(cut(6)).collect::<Vec<_>>(), [0]);
        versions.link_lost(0);
        assert_eq!(versions.pulls_due(cut(6)), [(0, cut(6))]);
        versions.forget(1);
        assert_eq!(versions.newest(), Some(cut(4)));
    }
}
