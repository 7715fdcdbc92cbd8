//! The faults of a simulated disk, and the number of their effects.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

/// The id of an injected fault, chosen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(pub u32);

/// A fault of a disk. Several can be set at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A write or an append keeps a prefix and fails, because the disk is full. Creating a
    /// directory fails, too. Truncating, renaming and removing need no space.
    NoSpace,
    /// Every operation except a list fails and does nothing. A sync fails as with
    /// [`Self::FailedSync`].
    Io,
    /// A sync of a file fails, and the unsynced bytes are dropped: the next sync reports success.
    FailedSync,
    /// A write or an append keeps a prefix and fails.
    Torn,
    /// A sync of a file or a directory reports success and does nothing. Only a power loss shows
    /// it.
    LostUnsynced,
    /// One bit of each read is flipped. The stored bytes do not change.
    BitFlip,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    active: BTreeMap<FaultId, DiskFault>,
    n_effects: BTreeMap<FaultId, u64>,
}

impl Faults {
    pub(super) fn set(&mut self, id: FaultId, fault: DiskFault) {
        self.active.insert(id, fault);
    }

    pub(super) fn clear(&mut self, id: FaultId) {
        self.active.remove(&id);
    }

    pub(super) fn n_effects(&self, id: FaultId) -> u64 {
        self.n_effects.get(&id).copied().unwrap_or_default()
    }

    /// Counts an effect of each active fault of this kind, and returns the number of these faults.
    pub(super) fn apply(&mut self, fault: DiskFault) -> usize {
        let ids = self.active.iter().filter(|(_, kind)| **kind == fault).map(|(id, _)| *id);
        let mut n_faults = 0;
        for id in ids {
            *self.n_effects.entry(id).or_default() += 1;
            n_faults += 1;
        }
        n_faults
    }

    pub(super) fn check_io(&mut self) -> io::Result<()> {
        match self.apply(DiskFault::Io) {
            0 => Ok(()),
            // A text instead of the code of the operating system, whose text differs between
            // systems.
            _ => Err(io::Error::other("input/output error")),
        }
    }

    pub(super) fn check_space(&mut self) -> io::Result<()> {
        match self.apply(DiskFault::NoSpace) {
            0 => Ok(()),
            _ => Err(ErrorKind::StorageFull.into()),
        }
    }

    /// Returns an error if only a prefix of a write reaches the disk.
    pub(super) fn check_write(&mut self) -> io::Result<()> {
        self.check_space()?;
        match self.apply(DiskFault::Torn) {
            0 => Ok(()),
            _ => Err(io::Error::other("the write was torn")),
        }
    }
}
