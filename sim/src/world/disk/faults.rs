//! The active faults of a simulated disk, and the number of their effects.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use crate::scenario::DiskMode;

/// The id of an injected fault. The caller chooses the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FaultId(pub(crate) usize);

#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    active: BTreeMap<FaultId, DiskMode>,
    n_effects: BTreeMap<FaultId, u64>,
}

impl Faults {
    pub(super) fn set(&mut self, id: FaultId, fault: DiskMode) {
        self.active.insert(id, fault);
    }

    pub(super) fn clear(&mut self, id: FaultId) {
        self.active.remove(&id);
    }

    pub(super) fn n_effects(&self, id: FaultId) -> u64 {
        self.n_effects.get(&id).copied().unwrap_or_default()
    }

    /// Counts an effect of each active fault of this kind. Returns the number of these faults.
    pub(super) fn apply(&mut self, fault: DiskMode) -> usize {
        let ids = self.active.iter().filter(|(_, kind)| **kind == fault).map(|(id, _)| *id);
        let mut n_faults = 0;
        for id in ids {
            *self.n_effects.entry(id).or_default() += 1;
            n_faults += 1;
        }
        n_faults
    }

    /// Returns an error if an I/O fault is active. Every disk operation makes this check, except
    /// the listing of a directory.
    pub(super) fn check_io(&mut self) -> io::Result<()> {
        // The error is a text instead of a code of the operating system, because the text of a code
        // differs between systems.
        self.check(DiskMode::Io, || io::Error::other("input/output error"))
    }

    /// Returns an error if a fault makes the disk full. Operations that write bytes or create a
    /// directory make this check. Truncating, renaming and removing succeed on a full disk.
    pub(super) fn check_space(&mut self) -> io::Result<()> {
        self.check(DiskMode::NoSpace, || ErrorKind::StorageFull.into())
    }

    /// Returns an error if a fault makes the disk full, or lets only a prefix of a write reach the
    /// disk.
    pub(super) fn check_write(&mut self) -> io::Result<()> {
        self.check_space()?;
        self.check(DiskMode::Torn, || io::Error::other("the write was torn"))
    }

    fn check(&mut self, fault: DiskMode, error: impl FnOnce() -> io::Error) -> io::Result<()> {
        if self.apply(fault) == 0 { Ok(()) } else { Err(error()) }
    }
}
