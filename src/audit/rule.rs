//! The names of the rules, and the part of each rule that ledgers cannot show.

use std::fmt;

/// A rule of the protocol.
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
    /// The project's promise: recomputed values have the same bits.
    SameBits,
}

impl Rule {
    /// All rules, in order.
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

    /// Returns the number of the rule in `docs/protocol.md`; `None` for [`Self::SameBits`], which
    /// is not a rule of that document.
    #[must_use]
    pub fn number(self) -> Option<u8> {
        let place = Self::ALL.iter().position(|rule| *rule == self)?;
        u8::try_from(place + 1).ok().filter(|_| self != Self::SameBits)
    }

    /// Returns the name of the rule in `docs/protocol.md`.
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

    /// Returns the part of the rule that the files of a run cannot show, if any.
    #[must_use]
    pub const fn unseen(self) -> Option<&'static str> {
        match self {
            Self::WhichR => Some("with R < N, whether these slots arrived first"),
            Self::StaleIsTold => Some("whether the current version followed"),
            Self::WholeVersionsOnly => Some("gradients that workers computed and no shard used"),
            Self::NobodyWaitsUnseen => Some("which tasks waited"),
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
