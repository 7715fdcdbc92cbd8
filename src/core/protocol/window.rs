//! Applies rule 11, the flow control of pushes. The window limits the gradients that a worker keeps
//! and that a link carries.
//!
//! A ps acknowledges a push after it has accepted or declined the push's gradient. Both ends count
//! the pushes of a link, so that one number acknowledges all pushes up to that number. On a new
//! link, both counts start from 0.

use std::collections::VecDeque;

use crate::floats::Floats;
use crate::ids::{Cut, Slot};

/// The maximum number of unacknowledged pushes of a worker on one link.
///
/// One push is computed while the push before it is sent. Two more pushes may wait for their
/// acknowledgements. A worker starts no slot beyond the window, so the worker keeps at most
/// `PUSH_WINDOW` gradients per ps.
pub const PUSH_WINDOW: usize = 4;

/// One shard's part of a computed gradient.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pending {
    /// The version that the gradient was computed from.
    pub(super) cut: Cut,
    pub(super) slot: Slot,
    pub(super) loss: f32,
    pub(super) gradient: Floats,
}

/// The error for a ps that acknowledged more pushes than the worker sent on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it acknowledged {acknowledged} pushes, but only {sent} were sent on this link")]
pub(super) struct NeverSent {
    acknowledged: u64,
    sent: u64,
}

/// A worker's unacknowledged pushes to one ps.
#[derive(Debug, Default)]
pub(super) struct PushWindow {
    /// The unacknowledged pushes, oldest first. While a link to the ps is up, all these pushes were
    /// sent on that link.
    unacknowledged: VecDeque<Pending>,
    /// The number of acknowledged pushes of the current link.
    acknowledged: u64,
}

impl PushWindow {
    /// Returns whether the worker may compute another gradient for this ps.
    pub(super) fn has_room(&self) -> bool {
        self.unacknowledged.len() < PUSH_WINDOW
    }

    pub(super) fn add(&mut self, push: Pending) {
        self.unacknowledged.push_back(push);
    }

    /// Drops the first `pushes` pushes of this link, because the ps has acknowledged them.
    ///
    /// # Errors
    /// Returns an error if the worker has sent fewer pushes than `pushes` on this link.
    pub(super) fn acknowledge(&mut self, pushes: u64) -> Result<(), NeverSent> {
        let sent = self.acknowledged + self.unacknowledged.len() as u64;
        // A faulty ps must not make this worker drop pushes that the ps has not processed.
        if pushes > sent {
            return Err(NeverSent { acknowledged: pushes, sent });
        }
        for _ in self.acknowledged..pushes {
            self.unacknowledged.pop_front();
        }
        // A smaller number than before acknowledges nothing new, and must not decrease the count.
        self.acknowledged = self.acknowledged.max(pushes);
        Ok(())
    }

    /// Starts a new link. Returns the unacknowledged pushes that were computed at `cut`, oldest
    /// first, so that the worker can repeat these pushes. Drops all other pushes, because no update
    /// can use them any more.
    pub(super) fn restart(&mut self, cut: Option<Cut>) -> impl Iterator<Item = &Pending> {
        self.acknowledged = 0;
        self.unacknowledged.retain(|push| Some(push.cut) == cut);
        self.unacknowledged.iter()
    }
}

/// Two counts of one worker's pushes on the current link: the pushes that the ps has processed, and
/// the pushes that the ps has acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judged {
    judged: u64,
    /// The count that was sent in the last acknowledgement.
    acknowledged: u64,
}

impl Judged {
    pub(super) const fn count(&mut self) {
        self.judged += 1;
    }

    /// Marks all processed pushes as acknowledged. Returns the number of processed pushes, for the
    /// message to the worker.
    pub(super) const fn acknowledge(&mut self) -> u64 {
        self.acknowledged = self.judged;
        self.judged
    }

    pub(super) const fn is_acknowledged(self) -> bool {
        self.acknowledged == self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Step};

    fn cut(step: u64) -> Cut {
        Cut { generation: Generation::default(), step: Step(step) }
    }

    fn window(pushes: &[(u64, u32)]) -> PushWindow {
        let mut window = PushWindow::default();
        for &(step, slot) in pushes {
            let (cut, slot) = (cut(step), Slot(slot));
            window.add(Pending { cut, slot, loss: 0.5, gradient: Floats::default() });
        }
        window
    }

    fn slots<'a>(pushes: impl Iterator<Item = &'a Pending>) -> Vec<u32> {
        pushes.map(|push| push.slot.0).collect()
    }

    #[test]
    fn window_of_four_pushes_is_full_until_one_is_acknowledged() {
        let mut window = window(&[(7, 0), (7, 2), (7, 4)]);
        assert!(window.has_room());
        window.add(Pending { cut: cut(7), slot: Slot(6), loss: 0.5, gradient: Floats::default() });
        assert!(!window.has_room());
        assert_eq!(window.acknowledge(1), Ok(()));
        assert!(window.has_room());
        assert_eq!(slots(window.unacknowledged.iter()), [2, 4, 6]);
    }

    #[test]
    fn acknowledgement_covers_every_push_before_it_and_an_older_one_changes_nothing() {
        let mut window = window(&[(7, 0), (7, 2), (7, 4)]);
        assert_eq!(window.acknowledge(2), Ok(()));
        assert_eq!(window.acknowledge(1), Ok(()));
        assert_eq!(slots(window.unacknowledged.iter()), [4]);
        assert_eq!(window.acknowledge(4), Err(NeverSent { acknowledged: 4, sent: 3 }));
        assert_eq!(window.acknowledge(3), Ok(()));
        assert_eq!(slots(window.unacknowledged.iter()), [0; 0]);
    }

    #[test]
    fn new_link_repeats_only_unacknowledged_pushes_of_the_present_version() {
        let mut window = window(&[(6, 0), (7, 0), (7, 2)]);
        assert_eq!(window.acknowledge(1), Ok(()));
        assert_eq!(slots(window.restart(Some(cut(7)))), [0, 2]);
        assert_eq!(window.acknowledge(1), Ok(()), "the count starts anew");
        assert_eq!(slots(window.restart(Some(cut(8)))), [0; 0]);
    }
}
