//! One directory: its current names, its durable names, and the unsynced changes of names.
//!
//! No file moves to another directory, so a power loss affects each directory separately.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};

use unisono_core::random::Stream;
use unisono_files::disk::Stamp;

use super::content::Content;

/// The maximum number of unsynced name changes (files added, renamed or removed) that a directory
/// stores. Older changes become durable without a sync, just as an operating system writes its
/// journal every few seconds. If a fault makes the disk ignore syncs, the limit bounds memory use
/// to the files of about a dozen checkpoints.
pub(super) const MAX_UNSYNCED: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

type Names = BTreeMap<OsString, FileId>;

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    /// The contents of all files that have a name, and of all files whose name a power loss can
    /// restore.
    pub(super) contents: BTreeMap<FileId, Content>,
    n_files: u64,
    names: Names,
    durable: Names,
    /// The unsynced changes, in order, that turn the names in `durable` into the names in `names`.
    unsynced: VecDeque<NameChange>,
}

/// A change of names: a name is removed, added, or renamed.
#[derive(Clone, Debug)]
struct NameChange {
    removed: Option<OsString>,
    made: Option<(OsString, FileId)>,
}

impl NameChange {
    fn apply(self, names: &mut Names) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        names.extend(self.made);
    }

    fn names(&self) -> impl Iterator<Item = &OsString> {
        self.removed.iter().chain(self.made.iter().map(|(name, _)| name))
    }
}

impl Directory {
    pub(super) fn has(&self, name: &OsStr) -> bool {
        self.names.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.names.keys().map(OsString::as_os_str)
    }

    pub(super) fn file(&mut self, name: &OsStr) -> io::Result<&mut Content> {
        let id = self.id(name)?;
        Ok(self.contents.get_mut(&id).expect("a file with a name has content"))
    }

    pub(super) fn stamp(&mut self, name: &OsStr) -> io::Result<Stamp> {
        let FileId(file) = self.id(name)?;
        Ok(Stamp { file, len: self.file(name)?.bytes().len() as u64 })
    }

    /// Returns the content of the file with this name. Creates the file if it is missing.
    pub(super) fn file_or_new(&mut self, name: &OsStr) -> io::Result<&mut Content> {
        if !self.has(name) {
            let id = FileId(self.n_files);
            self.n_files += 1;
            self.contents.insert(id, Content::default());
            self.change(NameChange { removed: None, made: Some((name.to_owned(), id)) });
        }
        self.file(name)
    }

    pub(super) fn rename(&mut self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let made = Some((to.to_owned(), self.id(from)?));
        if from != to {
            self.change(NameChange { removed: Some(from.to_owned()), made });
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &OsStr) -> io::Result<()> {
        self.id(name)?;
        self.change(NameChange { removed: Some(name.to_owned()), made: None });
        Ok(())
    }

    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
        self.forget_nameless();
    }

    /// Simulates a power loss. Random draws decide which unsynced name changes, and which unsynced
    /// bytes of each file, are kept.
    pub(super) fn lose_power(&mut self, stream: &mut Stream) {
        for change in self.surviving(stream) {
            change.apply(&mut self.durable);
        }
        self.return_to_durable();
        self.contents.values_mut().for_each(|content| content.lose_power(stream));
    }

    /// Draws the unsynced name changes that survive a power loss. Each change is drawn separately,
    /// with one exception: if a change survives, all earlier changes of the same names survive,
    /// too, because no file system writes a later state of a directory entry without the earlier
    /// state. The exception also keeps a renamed durable file when another file takes its old name.
    fn surviving(&self, stream: &mut Stream) -> Vec<NameChange> {
        let mut needed = BTreeSet::new();
        let mut surviving = Vec::new();
        for change in self.unsynced.iter().rev() {
            let is_lucky = stream.below(2) == 0;
            if is_lucky || change.names().any(|name| needed.contains(name)) {
                needed.extend(change.names());
                surviving.push(change.clone());
            }
        }
        surviving.reverse();
        surviving
    }

    pub(super) fn return_to_durable(&mut self) {
        self.unsynced.clear();
        self.names.clone_from(&self.durable);
        self.forget_nameless();
    }

    fn id(&self, name: &OsStr) -> io::Result<FileId> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.unsynced.push_back(change);
        if self.unsynced.len() > MAX_UNSYNCED {
            let oldest = self.unsynced.pop_front().expect("the queue is above its limit");
            oldest.apply(&mut self.durable);
            self.forget_nameless();
        }
    }

    fn forget_nameless(&mut self) {
        let made = self.unsynced.iter().filter_map(|change| change.made.as_ref());
        let pending = made.map(|(_, id)| id).chain(self.names.values());
        let named: BTreeSet<FileId> = pending.chain(self.durable.values()).copied().collect();
        self.contents.retain(|id, _| named.contains(id));
    }
}
