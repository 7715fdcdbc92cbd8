//! How many bytes a network has moved, for who counts.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one network, since it began. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Counts>);

/// Bytes, by the way they took.
#[derive(Debug, Default)]
pub struct Counts {
    /// Through sockets, in; what encryption adds is not counted.
    pub received: AtomicU64,
    /// Through sockets, out.
    pub sent: AtomicU64,
    /// Of tensors, read from memory that their maker shares.
    pub shared_received: AtomicU64,
    /// Of tensors, left in memory for another to read.
    pub shared_sent: AtomicU64,
}

impl Deref for Traffic {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.0
    }
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, n_bytes: usize) {
    count.fetch_add(n_bytes as u64, Ordering::Relaxed);
}
