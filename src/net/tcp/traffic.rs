//! Counters of the bytes that a network has sent and received, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Byte counters of one network since its start. Clones share the counters.
pub type Traffic = Arc<Counts>;

/// Counters of sent and received bytes, for sockets and for shared memory.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes read from sockets, after decryption.
    pub received: AtomicU64,
    /// Bytes written to sockets, before encryption.
    pub sent: AtomicU64,
    /// Bytes of tensors received through shared memory.
    pub shared_received: AtomicU64,
    /// Bytes of tensors sent through shared memory.
    pub shared_sent: AtomicU64,
}

/// Adds `n_bytes` to a counter.
pub(super) fn add(count: &AtomicU64, n_bytes: usize) {
    // The counters may be relaxed, because no other memory depends on their values.
    count.fetch_add(n_bytes as u64, Ordering::Relaxed);
}
