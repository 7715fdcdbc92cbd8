//! The content of one file: the written bytes, and the durable bytes.
//!
//! The content of a removed file is kept as long as a power loss can restore the name of the file.

use std::fmt;
use std::sync::Arc;

use unisono_core::random::Stream;

/// The content of one file. The written bytes and the durable bytes share one buffer while they are
/// equal, so that a sync copies nothing.
#[derive(Clone, Default)]
pub(super) struct Content {
    pending: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Length in bytes of the prefix that has not changed since the last sync. A power loss does
    /// not damage this prefix.
    n_untouched: usize,
    /// Length in bytes of the prefix that the operating system considers durable. After a failed
    /// sync, the prefix is the whole content, although a part of the content is not durable.
    n_clean: usize,
}

impl fmt::Debug for Content {
    /// The output omits the bytes, because there may be millions of them.
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

    /// Appends bytes. The first append after a sync copies the existing bytes, because the durable
    /// bytes share their buffer.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        Arc::make_mut(&mut self.pending).extend_from_slice(bytes);
    }

    pub(super) fn resize(&mut self, n_bytes: usize) {
        Arc::make_mut(&mut self.pending).resize(n_bytes, 0);
        self.n_untouched = self.n_untouched.min(n_bytes);
        self.n_clean = self.n_clean.min(n_bytes);
    }

    /// Makes all bytes durable that are dirty for the operating system. Bytes that an earlier
    /// failed sync dropped do not become durable, and no error is returned. If the durable content
    /// is too short to have bytes at the position of the dropped bytes, the durable content gets
    /// zeros there.
    pub(super) fn sync(&mut self) {
        if self.n_clean <= self.n_untouched {
            self.settle();
            return;
        }
        // The operating system considers all bytes durable, so a sync writes nothing.
        if self.n_clean == self.pending.len() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        durable.resize(self.pending.len(), 0);
        durable[self.n_clean..].copy_from_slice(&self.pending[self.n_clean..]);
        self.n_clean = self.pending.len();
    }

    /// Simulates a failed sync. The operating system marks the bytes as clean: readers still see
    /// them, and the next sync does not write them.
    pub(super) fn fail_sync(&mut self) {
        self.n_clean = self.pending.len();
    }

    pub(super) fn lose_unsynced(&mut self) {
        self.pending = Arc::clone(&self.durable);
        self.settle();
    }

    /// Makes the written bytes durable.
    fn settle(&mut self) {
        self.durable = Arc::clone(&self.pending);
        self.n_untouched = self.pending.len();
        self.n_clean = self.pending.len();
    }

    /// Simulates a power loss. A random draw decides whether the unsynced changes are kept whole,
    /// are lost, are kept up to a random byte, or are kept up to a random byte and replaced by
    /// zeros after it.
    pub(super) fn lose_power(&mut self, stream: &mut Stream) {
        if self.is_synced() {
            return;
        }
        match stream.below(4) {
            0 => {}
            1 => self.lose_unsynced(),
            2 => self.resize(self.written_back(stream)),
            _ => {
                // The file system wrote the new length before the blocks. Missing blocks read as
                // zeros.
                let (n_bytes, n_written) = (self.pending.len(), self.written_back(stream));
                self.resize(n_written);
                self.resize(n_bytes);
            }
        }
        self.settle();
    }

    /// Draws the number of bytes that were written back before the power loss.
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

    /// Returns all possible contents after a power loss, in order.
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
    fn sync_copies_nothing() {
        let mut content = Content::default();
        content.replace(b"abc");
        let written = content.bytes().as_ptr();
        content.sync();
        content.lose_unsynced();
        assert_eq!(content.bytes().as_ptr(), written);
    }

    #[test]
    fn bytes_dropped_by_a_failed_sync_are_read_until_a_power_loss_and_lost_after_it() {
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
        assert_eq!(after.bytes(), b"old\0\0!", "the bytes after the dropped ones are durable");

        content.resize(3);
        content.append(b"er!");
        content.sync();
        content.lose_unsynced();
        assert_eq!(content.bytes(), b"older!", "bytes that were written again are durable");
    }

    #[test]
    fn power_loss_leaves_the_old_content_or_a_prefix_of_the_new_content_with_or_without_zeros() {
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
    fn synced_bytes_survive_an_append() {
        let mut content = synced(b"old");
        content.append(b"er");
        let left: [&[u8]; 5] = [b"old", b"old\0\0", b"olde", b"olde\0", b"older"];
        assert_eq!(after_power_loss(&content), left);
    }

    #[test]
    fn unsynced_truncation_may_be_undone_by_a_power_loss() {
        let mut content = synced(b"abcd");
        content.resize(2);
        assert_eq!(after_power_loss(&content), [b"ab".as_slice(), b"abcd"]);
        content.append(b"x");
        let left: [&[u8]; 4] = [b"ab", b"ab\0", b"abcd", b"abx"];
        assert_eq!(after_power_loss(&content), left);
    }

    #[test]
    fn synced_content_survives_a_power_loss_and_draws_no_random_number() {
        let mut stream = Stream::new(1, Purpose::Permutation, 0, 0);
        let mut content = synced(b"abc");
        content.lose_power(&mut stream);
        assert_eq!(content.bytes(), b"abc");
        assert_eq!(stream.bits(), Stream::new(1, Purpose::Permutation, 0, 0).bits());
    }
}
