//! The content of one file: what was written, and what would be left of it without power.
//!
//! It does not know its name, and outlives it for as long as a crash may bring the name back.

use std::fmt;
use std::sync::Arc;

use unisono_core::random::Stream;

/// Both layers share one buffer while they agree, so that a sync copies nothing.
#[derive(Clone, Default)]
pub(super) struct Content {
    pending: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// How many of the first bytes nothing was done to since the last sync: no crash harms them.
    n_untouched: usize,
    /// Length of the prefix that the operating system believes to be on disk. After a failed sync
    /// this is the whole content, although a part of it is not durable.
    n_clean: usize,
}

impl fmt::Debug for Content {
    /// Without the bytes, which may be millions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("pending_len", &self.pending.len())
            .field("durable_len", &self.durable.len())
            .field("is_synced", &self.is_synced())
            .finish_non_exhaustive()
    }
}

impl Content {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.pending
    }

    pub(super) fn is_synced(&self) -> bool {
        Arc::ptr_eq(&self.pending, &self.durable)
    }

    pub(super) fn replace(&mut self, bytes: &[u8]) {
        self.pending = Arc::new(bytes.to_vec());
        self.n_untouched = 0;
        self.n_clean = 0;
    }

    /// Copies the old bytes, if this is the first change after a sync.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        Arc::make_mut(&mut self.pending).extend_from_slice(bytes);
    }

    pub(super) fn resize(&mut self, n_bytes: usize) {
        Arc::make_mut(&mut self.pending).resize(n_bytes, 0);
        self.n_untouched = self.n_untouched.min(n_bytes);
        self.n_clean = self.n_clean.min(n_bytes);
    }

    /// Writes all that the operating system knows to be dirty. What a failed sync has dropped stays
    /// lost, and nothing tells: where nothing else was durable before, there are zeros.
    pub(super) fn sync(&mut self) {
        if self.n_clean <= self.n_untouched {
            self.settle();
            return;
        }
        // Nothing is left to write, as far as the operating system knows.
        if self.n_clean == self.pending.len() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        durable.resize(self.pending.len(), 0);
        durable[self.n_clean..].copy_from_slice(&self.pending[self.n_clean..]);
        self.n_clean = self.pending.len();
    }

    /// A sync fails, and the operating system forgets that there was something to write: readers
    /// still find it, and the next sync has nothing to do.
    pub(super) fn fail_sync(&mut self) {
        self.n_clean = self.pending.len();
    }

    pub(super) fn lose_unsynced(&mut self) {
        self.pending = Arc::clone(&self.durable);
        self.settle();
    }

    /// What there is is durable.
    fn settle(&mut self) {
        self.durable = Arc::clone(&self.pending);
        self.n_untouched = self.pending.len();
        self.n_clean = self.pending.len();
    }

    /// Keeps what was not synced, loses it, or keeps what a writeback came to.
    pub(super) fn lose_power(&mut self, stream: &mut Stream) {
        if self.is_synced() {
            return;
        }
        match stream.below(4) {
            0 => {}
            1 => self.lose_unsynced(),
            2 => self.resize(self.written_back(stream)),
            _ => {
                // The length was durable before the blocks were.
                let (n_bytes, n_written) = (self.pending.len(), self.written_back(stream));
                self.resize(n_written);
                self.resize(n_bytes);
            }
        }
        self.settle();
    }

    /// How many bytes were written back when the power went.
    fn written_back(&self, stream: &mut Stream) -> usize {
        let n_touched = self.pending.len() - self.n_untouched;
        self.n_untouched + stream.below(n_touched as u64 + 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use unisono_core::random::Purpose;

    use super::*;

    fn synced(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.replace(bytes);
        content.sync();
        content
    }

    /// All that may be left, in order.
    fn after_power_loss(content: &Content) -> Vec<Vec<u8>> {
        let outcome = |seed| {
            let mut content = content.clone();
            content.lose_power(&mut Stream::new(seed, Purpose::Permutation, 0, 0));
            assert!(content.is_synced());
            content.bytes().to_vec()
        };
        (0..200).map(outcome).collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[test]
    fn syncing_copies_nothing() {
        let mut content = Content::default();
        content.replace(b"abc");
        let written = content.bytes().as_ptr();
        content.sync();
        content.lose_unsynced();
        assert_eq!(content.bytes().as_ptr(), written);
    }

    #[test]
    fn what_a_failed_sync_dropped_is_found_until_the_power_goes_whatever_is_synced_after_it() {
        let mut content = synced(b"old");
        content.append(b"er");
        content.fail_sync();
        content.sync();
        assert_eq!(content.bytes(), b"older");
        let mut after = content.clone();
        after.lose_unsynced();
        assert_eq!(after.bytes(), b"old");

        content.append(b"!");
        content.sync();
        let mut after = content.clone();
        after.lose_unsynced();
        assert_eq!(after.bytes(), b"old\0\0!", "the bytes after it are durable");

        content.resize(3);
        content.append(b"er!");
        content.sync();
        content.lose_unsynced();
        assert_eq!(content.bytes(), b"older!", "what is written again is durable");
    }

    #[test]
    fn a_replaced_content_is_the_old_one_or_a_prefix_of_the_new_one_maybe_before_zeros() {
        let mut content = synced(b"old");
        content.replace(b"new!");
        let left: [&[u8]; 10] = [
            b"",
            b"\0\0\0\0",
            b"n",
            b"n\0\0\0",
            b"ne",
            b"ne\0\0",
            b"new",
            b"new\0",
            b"new!",
            b"old",
        ];
        assert_eq!(after_power_loss(&content), left);
    }

    #[test]
    fn what_was_synced_before_an_append_survives() {
        let mut content = synced(b"old");
        content.append(b"er");
        let left: [&[u8]; 5] = [b"old", b"old\0\0", b"olde", b"olde\0", b"older"];
        assert_eq!(after_power_loss(&content), left);
    }

    #[test]
    fn a_cut_may_come_undone() {
        let mut content = synced(b"abcd");
        content.resize(2);
        assert_eq!(after_power_loss(&content), [b"ab".as_slice(), b"abcd"]);
        content.append(b"x");
        let left: [&[u8]; 4] = [b"ab", b"ab\0", b"abcd", b"abx"];
        assert_eq!(after_power_loss(&content), left);
    }

    #[test]
    fn synced_content_survives_and_draws_nothing() {
        let mut stream = Stream::new(1, Purpose::Permutation, 0, 0);
        let mut content = synced(b"abc");
        content.lose_power(&mut stream);
        assert_eq!(content.bytes(), b"abc");
        assert_eq!(stream.bits(), Stream::new(1, Purpose::Permutation, 0, 0).bits());
    }
}
