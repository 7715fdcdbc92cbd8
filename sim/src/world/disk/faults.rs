//! What is wrong with a simulated disk, and how often that came to bear.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

/// One injected fault, numbered by who injects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(pub u32);

/// A way in which a disk is broken for a while. Several may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A write or an append keeps a prefix, and fails for want of space; so does making a
    /// directory. A cut, a rename or a removal needs none.
    NoSpace,
    /// Every operation but a list fails, and does nothing. A sync fails as with [`Self::FailedSync`].
    Io,
    /// A sync of a file fails, and what it was to write is forgotten: the next sync reports success.
    FailedSync,
    /// A write or an append keeps a prefix, and fails.
    Torn,
    /// A sync of a file or a directory says that it is done, and does nothing. The next power
    /// loss shows it.
    LostUnsynced,
    /// One bit of whatever is read is flipped. What is stored is as it was.
    BitFlip,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    now: BTreeMap<FaultId, DiskFault>,
    n_effects: BTreeMap<FaultId, u64>,
}

impl Faults {
    pub(super) fn set(&mut self, id: FaultId, fault: DiskFault) {
        self.now.insert(id, fault);
    }

    pub(super) fn clear(&mut self, id: FaultId) {
        self.now.remove(&id);
    }

    pub(super) fn n_effects(&self, id: FaultId) -> u64 {
        self.n_effects.get(&id).copied().unwrap_or_default()
    }

    /// Lets every fault of this kind bite, and tells how many those are.
    pub(super) fn apply(&mut self, fault: DiskFault) -> usize {
        let ids = self.now.iter().filter(|(_, now)| **now == fault).map(|(id, _)| *id);
        let mut n_bitten = 0;
        for id in ids {
            *self.n_effects.entry(id).or_default() += 1;
            n_bitten += 1;
        }
        n_bitten
    }

    pub(super) fn check_io(&mut self) -> io::Result<()> {
        match self.apply(DiskFault::Io) {
            0 => Ok(()),
            // Not the number 5: what that says differs between operating systems.
            _ => Err(io::Error::other("input/output error")),
        }
    }

    pub(super) fn check_space(&mut self) -> io::Result<()> {
        match self.apply(DiskFault::NoSpace) {
            0 => Ok(()),
            _ => Err(ErrorKind::StorageFull.into()),
        }
    }

    /// Whether a whole write comes to the disk; if not, a prefix does.
    pub(super) fn check_write(&mut self) -> io::Result<()> {
        self.check_space()?;
        match self.apply(DiskFault::Torn) {
            0 => Ok(()),
            _ => Err(io::Error::other("the write was torn")),
        }
    }
}
