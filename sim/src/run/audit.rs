//! The audit: a hash of everything that happened in a run.

use std::fmt;

use unisono_observe::trace::NamedEvent;

/// A hash of all events of a run, with their times, in order. Two runs with the same audit count as
/// identical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit(u64);

impl Default for Audit {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Audit {
    /// Mixes a word of 64 bits into the hash. The multiplication is that of the hash FNV-1a
    /// (Fowler, Noll and Vo). The rotation is needed because a multiplication never moves the high
    /// bits of a word down.
    pub(crate) const fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn add_event(&mut self, event: NamedEvent) {
        self.add(event.kind as u64);
        self.add(event.step.map_or(u64::MAX, |step| step.0));
        self.add(event.slot.map_or(u64::MAX, |slot| u64::from(slot.0)));
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
