//! The versions of the shards that a worker has received.

use crate::floats::Floats;
use crate::ids::{Cut, Slot};

/// The last received version of one shard.
#[derive(Clone, Debug)]
pub(super) struct ShardVersion {
    pub(super) cut: Cut,
    /// The slots that this worker may compute. Empty if the version is not from ps 0.
    pub(super) tokens: Vec<Slot>,
    /// The worker's slots whose gradients the shard already holds.
    pub(super) received: Vec<Slot>,
    pub(super) parameters: Floats,
}

/// A worker's knowledge of one shard.
#[derive(Clone, Debug, Default)]
struct Known {
    version: Option<ShardVersion>,
    /// The oldest version that would answer the worker's pending request, or `None` without a
    /// pending request.
    asked: Option<Cut>,
}

/// The last received version of each shard, and the pending requests for newer versions.
#[derive(Debug)]
pub(super) struct Versions(Vec<Known>);

impl Versions {
    pub(super) fn new(n_ps: u32) -> Self {
        Self(vec![Known::default(); n_ps as usize])
    }

    /// Stores a version that a ps has sent. The version answers the pending request to this ps.
    pub(super) fn insert(&mut self, ps: u32, version: ShardVersion) {
        self.0[ps as usize] = Known { version: Some(version), asked: None };
    }

    /// Records that a pull or a push has requested a version from the ps.
    pub(super) fn mark_asked(&mut self, ps: u32, at_least: Cut) {
        self.0[ps as usize].asked = Some(at_least);
    }

    /// Forgets the pending request to a ps, because the request may be lost with the link.
    pub(super) fn link_lost(&mut self, ps: u32) {
        self.0[ps as usize].asked = None;
    }

    /// Forgets the version of a ps that has restarted, because the ps has lost the state of that
    /// version.
    pub(super) fn forget(&mut self, ps: u32) {
        self.0[ps as usize] = Known::default();
    }

    /// Returns the generation and the step of a shard's last received version.
    pub(super) fn cut_of(&self, ps: u32) -> Option<Cut> {
        self.0[ps as usize].version.as_ref().map(|version| version.cut)
    }

    /// Returns the generation and the step of the newest received version.
    pub(super) fn newest(&self) -> Option<Cut> {
        self.0.iter().filter_map(|known| known.version.as_ref()).map(|version| version.cut).max()
    }

    /// Returns the generation and the step of the versions if all shards have the same generation
    /// and step (rule 6).
    pub(super) fn whole_cut(&self) -> Option<Cut> {
        let cut = self.0.first()?.version.as_ref()?.cut;
        let is_of_it = |version: &ShardVersion| version.cut == cut;
        self.0.iter().all(|known| known.version.as_ref().is_some_and(is_of_it)).then_some(cut)
    }

    /// Returns the versions of all shards if all have the same generation and step.
    pub(super) fn whole(&self) -> Option<(Cut, Vec<&ShardVersion>)> {
        Some((self.whole_cut()?, self.all()?.collect()))
    }

    /// Returns the version of every shard, or `None` if a shard has not sent a version.
    fn all(&self) -> Option<impl Iterator<Item = &ShardVersion> + Clone> {
        let versions = self.0.iter().map(|known| known.version.as_ref());
        versions.clone().all(|version| version.is_some()).then(|| versions.flatten())
    }

    /// Returns the requests that the worker must send to reach `target`: each ps to ask, with the
    /// oldest version that the ps may answer with.
    pub(super) fn pulls_due(&self, target: Cut) -> Vec<(u32, Cut)> {
        let ask = |(ps, known): (u32, &Known)| match (&known.version, known.asked) {
            // If the worker knows no version of a shard, it asks for any version. The shard may be
            // behind the other shards and wait for this worker. A request for `target` could then
            // wait forever.
            (None, None) => Some((ps, Cut::default())),
            // A pending request for an earlier cut is not enough. If the generation of that cut is
            // over, the shard never reaches that cut.
            (Some(version), asked) if version.cut < target => {
                asked.is_none_or(|asked| asked < target).then_some((ps, target))
            }
            (None | Some(_), _) => None,
        };
        (0..).zip(&self.0).filter_map(ask).collect()
    }

    /// Returns whether a request to a ps is pending.
    pub(super) fn is_asked(&self, ps: u32) -> bool {
        self.0[ps as usize].asked.is_some()
    }

    /// Detects a step in which an earlier incarnation of this worker died between its pushes. Some
    /// shards are then one version past the other shards, which lack the gradients of `slots`.
    /// Returns the generation and the step of the older version, and the ps whose shards are past
    /// this version.
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

    /// Returns the ps whose last received version is older than `cut`, and the ps that have sent no
    /// version.
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
    fn version_is_whole_only_if_all_shards_have_the_same_cut() {
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
    fn lagging_shard_is_asked_once() {
        let mut versions = Versions::new(2);
        versions.insert(0, version(4));
        assert_eq!(versions.pulls_due(cut(4)), [(1, Cut::default())], "any version will do");
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
