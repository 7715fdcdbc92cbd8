//! The first copy of each state and gradient. Each recomputed copy is compared with the first copy.
//! To limit the memory, old copies are replaced by their checksums.
//!
//! In a simulation, most copies share their buffers, so comparing two buffers usually only compares
//! two pointers.

use std::fmt;
use std::ops::Range;

use unisono_core::protocol::ShardState;
use unisono_core::{Floats, Slot};

/// Identifies a state or a gradient among the values that belong to one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// The state of the shard of a ps.
    State(u32),
    /// The gradient of a slot.
    Gradient(Slot),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(ps) => write!(f, "the state of ps {ps}"),
            Self::Gradient(slot) => write!(f, "the gradient of slot {slot}"),
        }
    }
}

/// A state or a gradient.
#[derive(Debug)]
pub(crate) struct Made {
    /// For a state, the parameters and then the buffers of the optimizer. For a gradient, the part
    /// for each shard.
    pub(crate) buffers: Vec<Kept>,
    /// The loss of a gradient, as bits.
    loss: Option<u32>,
    regularized: Vec<Range<usize>>,
}

impl Made {
    pub(crate) fn gradient(loss: f32, parts: &[Floats]) -> Self {
        let buffers = parts.iter().cloned().map(Kept::Whole).collect();
        Self { buffers, loss: Some(loss.to_bits()), regularized: Vec::new() }
    }

    /// Returns whether the loss of this gradient has the same bits as `loss`.
    pub(crate) fn has_loss(&self, loss: f32) -> bool {
        self.loss == Some(loss.to_bits())
    }

    /// Returns whether `later`, which must be kept whole, has the same bits as this copy.
    pub(crate) fn is(&self, later: &Self) -> bool {
        (self.loss, &self.regularized) == (later.loss, &later.regularized)
            && self.buffers.len() == later.buffers.len()
            && self.first_difference(later).is_none()
    }

    /// Returns the first buffer of this copy that differs from the same buffer of `later`, which
    /// must be kept whole.
    pub(crate) fn first_difference<'a>(
        &'a self,
        later: &'a Self,
    ) -> Option<(&'a Kept, &'a Floats)> {
        let later = later.buffers.iter().filter_map(Kept::whole);
        self.buffers.iter().zip(later).find(|(kept, later)| !kept.is(later))
    }

    /// Returns the number of values that are kept.
    pub(crate) fn n_values(&self) -> usize {
        self.buffers.iter().filter_map(Kept::whole).map(|whole| whole.len()).sum()
    }
}

impl From<&ShardState> for Made {
    fn from(state: &ShardState) -> Self {
        let buffers = [&state.parameters].into_iter().chain(&state.auxiliary);
        let buffers = buffers.cloned().map(Kept::Whole).collect();
        Self { buffers, loss: None, regularized: state.regularized.clone() }
    }
}

/// A buffer, or its checksum.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// The buffer itself.
    Whole(Floats),
    /// The length of the buffer and its CRC32C.
    Checksum(usize, u32),
}

impl Kept {
    /// Returns whether a buffer has the same bits.
    pub(crate) fn is(&self, floats: &Floats) -> bool {
        match self {
            Self::Whole(whole) => whole == floats,
            Self::Checksum(len, crc) => (*len, *crc) == (floats.len(), floats.checksum()),
        }
    }

    /// Returns the buffer, unless only its checksum is left.
    pub(crate) const fn whole(&self) -> Option<&Floats> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Checksum(..) => None,
        }
    }

    /// Keeps only the checksum.
    pub(crate) fn shrink(&mut self) {
        if let Self::Whole(whole) = self {
            *self = Self::Checksum(whole.len(), whole.checksum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrunk_buffer_still_detects_different_values() {
        let floats = Floats::from(vec![1.0, 2.0]);
        let mut kept = Kept::Whole(floats.clone());
        for _ in 0..2 {
            assert!(kept.is(&floats) && kept.is(&vec![1.0, 2.0].into()));
            assert!(!kept.is(&vec![1.0, 3.0].into()) && !kept.is(&vec![1.0].into()));
            kept.shrink();
        }
        assert!(kept.whole().is_none());
    }

    #[test]
    fn states_are_compared_in_all_their_parts() {
        let state = ShardState {
            parameters: vec![1.0].into(),
            auxiliary: vec![vec![2.0].into()],
            regularized: vec![Range { start: 0, end: 1 }],
        };
        let is = |later: ShardState| Made::from(&state).is(&Made::from(&later));
        assert!(is(state.clone()));
        assert!(!is(ShardState { auxiliary: Vec::new(), ..state.clone() }));
        assert!(!is(ShardState { auxiliary: vec![vec![3.0].into()], ..state.clone() }));
        assert!(!is(ShardState { regularized: Vec::new(), ..state.clone() }));
        assert!(!is(ShardState { parameters: vec![-1.0].into(), ..state.clone() }));
    }
}
