//! Buffers that are kept to be compared with: whole while there is room, then only their checksums.
//!
//! In a simulation nearly all buffers are shared, so that comparing two is comparing two pointers.

use std::ops::Range;

use unisono_core::Floats;
use unisono_core::protocol::ShardState;

/// A buffer, or what is left of it.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// The buffer itself.
    Whole(Floats),
    /// Its length and its CRC32C.
    Checksum(usize, u32),
}

impl Kept {
    /// Whether `floats` has the same bits.
    pub(crate) fn is(&self, floats: &Floats) -> bool {
        match self {
            Self::Whole(whole) => whole == floats,
            Self::Checksum(len, crc) => (*len, *crc) == (floats.len(), floats.checksum()),
        }
    }

    /// The buffer, if it is still there.
    pub(crate) const fn whole(&self) -> Option<&Floats> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Checksum(..) => None,
        }
    }

    /// Lets go of the buffer; the values that this freed, if nobody else holds them.
    pub(crate) fn shrink(&mut self) -> usize {
        let Self::Whole(whole) = self else { return 0 };
        let (len, crc) = (whole.len(), whole.checksum());
        *self = Self::Checksum(len, crc);
        len
    }
}

impl From<&Floats> for Kept {
    fn from(floats: &Floats) -> Self {
        Self::Whole(floats.clone())
    }
}

/// A shard's whole state, as it was made first.
#[derive(Clone, Debug)]
pub(crate) struct KeptState {
    /// The parameters.
    pub(crate) parameters: Kept,
    auxiliary: Vec<Kept>,
    regularized: Vec<Range<usize>>,
}

impl KeptState {
    /// Whether `state` has the same bits in all of its parts.
    pub(crate) fn is(&self, state: &ShardState) -> bool {
        self.parameters.is(&state.parameters)
            && self.auxiliary.len() == state.auxiliary.len()
            && self.auxiliary.iter().zip(&state.auxiliary).all(|(kept, buffer)| kept.is(buffer))
            && self.regularized == state.regularized
    }

    pub(crate) fn len(&self) -> usize {
        let len = |kept: &Kept| kept.whole().map_or(0, |floats| floats.len());
        len(&self.parameters) + self.auxiliary.iter().map(len).sum::<usize>()
    }

    pub(crate) fn shrink(&mut self) -> usize {
        self.parameters.shrink() + self.auxiliary.iter_mut().map(Kept::shrink).sum::<usize>()
    }
}

impl From<&ShardState> for KeptState {
    fn from(state: &ShardState) -> Self {
        Self {
            parameters: Kept::from(&state.parameters),
            auxiliary: state.auxiliary.iter().map(Kept::from).collect(),
            regularized: state.regularized.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrunk_buffer_still_detects_different_values() {
        let floats = Floats::from(vec![1.0, 2.0]);
        let mut kept = Kept::from(&floats);
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
        let kept = KeptState::from(&state);
        assert!(kept.is(&state));
        assert!(!kept.is(&ShardState { auxiliary: Vec::new(), ..state.clone() }));
        assert!(!kept.is(&ShardState { regularized: Vec::new(), ..state.clone() }));
        assert!(!kept.is(&ShardState { parameters: vec![-1.0].into(), ..state }));
    }
}
