//! The rules by name, and what of each a ledger lets one see.

use std::fmt;

/// What may be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Rule 1.
    ExactlyR,
    /// Rule 2.
    WhichR,
    /// Rule 3.
    FixedOrder,
    /// Rule 4.
    Idempotent,
    /// Rule 5.
    StaleIsTold,
    /// Rule 6.
    WholeVersionsOnly,
    /// Rule 7.
    CheckpointsAreCuts,
    /// Rule 8.
    Fencing,
    /// Rule 9.
    NobodyWaitsUnseen,
    /// Rule 10.
    CleanEnd,
    /// The promise: what is computed twice has the same bits.
    SameBits,
}

impl Rule {
    /// All, in their order.
    pub const ALL: [Self; 11] = [
        Self::ExactlyR,
        Self::WhichR,
        Self::FixedOrder,
        Self::Idempotent,
        Self::StaleIsTold,
        Self::WholeVersionsOnly,
        Self::CheckpointsAreCuts,
        Self::Fencing,
        Self::NobodyWaitsUnseen,
        Self::CleanEnd,
        Self::SameBits,
    ];

    /// Its number in `docs/protocol.md`; the promise has none.
    #[must_use]
    pub fn number(self) -> Option<u8> {
        let place = Self::ALL.iter().position(|rule| *rule == self)?;
        u8::try_from(place + 1).ok().filter(|_| self != Self::SameBits)
    }

    /// Its name there.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExactlyR => "exactly R",
            Self::WhichR => "which R",
            Self::FixedOrder => "fixed order",
            Self::Idempotent => "idempotent",
            Self::StaleIsTold => "stale is told",
            Self::WholeVersionsOnly => "whole versions only",
            Self::CheckpointsAreCuts => "checkpoints are cuts",
            Self::Fencing => "fencing",
            Self::NobodyWaitsUnseen => "nobody waits unseen",
            Self::CleanEnd => "clean end",
            Self::SameBits => "same bits",
        }
    }

    /// What of it cannot be seen in the files that a run leaves, if anything.
    #[must_use]
    pub const fn unseen(self) -> Option<&'static str> {
        match self {
            Self::WhichR => Some("with R < N, that these slots were the first"),
            Self::StaleIsTold => Some("that the current version followed"),
            Self::WholeVersionsOnly => Some("what workers computed and nobody used"),
            Self::NobodyWaitsUnseen => Some("who waited"),
            Self::CleanEnd => Some("how the processes ended"),
            _ => None,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "rule {number}, {}", self.name()),
            None => write!(f, "the promise, {}", self.name()),
        }
    }
}
