//! Rule 11: flow control of pushes. It bounds the gradients that a worker keeps and that a link
//! carries.
//!
//! A ps acknowledges a push once it has judged the push, which it then holds or has declined. Both
//! ends count the pushes of a link, so that one number acknowledges all pushes before it. Both
//! counts start from 0 on a new link.

use std::collections::VecDeque;

use crate::floats::Floats;
use crate::ids::{Cut, Slot};

/// The maximum number of unacknowledged pushes of a worker on one link.
///
/// One push is computed while the push before it travels. Two more cover the time of an
/// acknowledgement. A worker starts no slot beyond the window, so it keeps at most this many
/// gradients per ps.
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
    /// The unacknowledged pushes, oldest first. If there is a link, all of them were sent on it.
    unacknowledged: VecDeque<Pending>,
    /// The number of pushes on the current link that the ps has acknowledged.
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

    /// Drops the first `pushes` pushes of this link, which the ps has acknowledged.
    ///
    /// # Errors
    /// If the worker has sent fewer pushes on this link.
    pub(super) fn acknowledge(&mut self, pushes: u64) -> Result<(), NeverSent> {
        let sent = self.acknowledged + self.unacknowledged.len() as u64;
        // A faulty ps must not make this worker drop pushes that were never judged.
        if pushes > sent {
            return Err(NeverSent { acknowledged: pushes, sent });
        }
        for _ in self.acknowledged..pushes {
            self.unacknowledged.pop_front();
        }
        // A smaller number acknowledges nothing new, and must not turn the count back.
        self.acknowledged = self.acknowledged.max(pushes);
        Ok(())
    }

    /// Starts a new link. Returns the pushes to repeat on it, oldest first: the unacknowledged
    /// pushes that were computed at `cut`. Drops all others, which no update can use any more.
    pub(super) fn restart(&mut self, cut: Option<Cut>) -> impl Iterator<Item = &Pending> {
        self.acknowledged = 0;
        self.unacknowledged.retain(|push| Some(push.cut) == cut);
        self.unacknowledged.iter()
    }
}

/// A ps's counts of one worker's pushes on the current link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judged {
    judged: u64,
    /// The number in the last message that acknowledged pushes.
    acknowledged: u64,
}

impl Judged {
    pub(super) const fn count(&mut self) {
        self.judged += 1;
    }

    /// Returns the number for a message that acknowledges all judged pushes.
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
