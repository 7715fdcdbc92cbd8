//! How many bytes a network has moved, for who counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one network, since it began. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Through sockets, in; what TLS adds is not counted.
    pub received: Arc<AtomicU64>,
    /// Through sockets, out.
    pub sent: Arc<AtomicU64>,
    /// Of tensors, read from memory that their maker shares.
    pub shared_received: Arc<AtomicU64>,
    /// Of tensors, left in memory for another to read.
    pub shared_sent: Arc<AtomicU64>,
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, n_bytes: usize) {
    count.fetch_add(n_bytes as u64, Ordering::Relaxed);
}
