//! Reference-counted, immutable buffers of `f32`: what gradients and versions travel in.
//!
//! Cloning one copies no floats, so a version is broadcast to any number of workers for free.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A flat, immutable `f32` buffer, shared by reference count.
#[derive(Clone, Default)]
pub struct Floats(Arc<Inner>);

#[derive(Default)]
struct Inner {
    values: Vec<f32>,
    checksum: OnceLock<u32>,
}

impl Floats {
    /// The elements as bytes, little-endian, in place (no copy).
    #[must_use]
    #[cfg(target_endian = "little")]
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0.values)
    }

    /// The CRC32C of [`Self::as_bytes`]; computed once for all who share the buffer.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        *self.0.checksum.get_or_init(|| crc32c::crc32c(self.as_bytes()))
    }

    /// A buffer whose [`Self::checksum`] is known already.
    #[must_use]
    pub(crate) fn with_checksum(values: Vec<f32>, checksum: u32) -> Self {
        Self(Arc::new(Inner { values, checksum: checksum.into() }))
    }

    /// Whether both are one and the same buffer in memory.
    #[must_use]
    pub fn same_buffer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether nobody else holds the buffer.
    #[must_use]
    pub fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// The buffer itself, to be written again, if nobody else holds it; otherwise `None`.
    #[must_use]
    pub fn reclaim(self) -> Option<Vec<f32>> {
        Arc::try_unwrap(self.0).ok().map(|inner| inner.values)
    }
}

/// Buffers that are written again once nobody holds them any more.
///
/// A version or a gradient is megabytes: getting fresh memory for each from the system costs more
/// than filling it.
#[derive(Debug)]
pub struct Pool {
    lent: Vec<Floats>,
    max_lent: usize,
}

impl Pool {
    /// A pool that remembers at most `max_lent` buffers; any more are left to who holds them.
    #[must_use]
    pub const fn new(max_lent: usize) -> Self {
        Self { lent: Vec::new(), max_lent }
    }

    /// A buffer of `len` values, of which each may be anything.
    #[must_use]
    pub fn take(&mut self, len: usize) -> Vec<f32> {
        let is_free = |floats: &Floats| floats.len() == len && floats.is_unshared();
        let free = self.lent.iter().position(is_free).map(|free| self.lent.swap_remove(free));
        free.and_then(Floats::reclaim).unwrap_or_else(|| vec![0.0; len])
    }

    /// Gives a buffer out, to come back when nobody holds it.
    #[must_use]
    pub fn lend(&mut self, values: impl Into<Floats>) -> Floats {
        let floats = values.into();
        self.lent.push(floats.clone());
        if self.lent.len() > self.max_lent {
            // A length that is asked for no more must not keep its place for ever.
            self.lent.remove(0);
        }
        floats
    }
}

#[cfg(target_endian = "big")]
compile_error!(
    "tensors travel as little-endian bytes in place; a big-endian host is not supported"
);

impl From<Vec<f32>> for Floats {
    fn from(values: Vec<f32>) -> Self {
        Self(Arc::new(Inner { values, checksum: OnceLock::new() }))
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0.values
    }
}

/// Equal to the bit: `0.0` is not `-0.0`, and a NaN equals itself.
impl PartialEq for Floats {
    fn eq(&self, other: &Self) -> bool {
        self.same_buffer(other) || self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Floats {}

impl fmt::Debug for Floats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Floats({} values, crc {:08x})", self.len(), self.checksum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_of_bits() {
        assert_ne!(Floats::from(vec![0.0]), Floats::from(vec![-0.0]));
        assert_eq!(Floats::from(vec![f32::NAN]), Floats::from(vec![f32::NAN]));
    }

    #[test]
    fn a_pool_writes_a_buffer_again_only_when_nobody_holds_it() {
        let mut pool = Pool::new(2);
        let values = pool.take(3);
        let place = values.as_ptr();
        let floats = pool.lend(values);
        let held = floats.clone();
        drop(floats);
        let other = pool.take(3);
        assert_ne!(other.as_ptr(), place);
        drop(held);
        assert_eq!(pool.take(2).len(), 2, "only of the same length");
        let again = pool.take(3);
        assert_eq!(again.as_ptr(), place);
    }

    #[test]
    fn a_pool_remembers_no_more_than_it_may() {
        let mut pool = Pool::new(2);
        let lent: Vec<_> = (1..5).map(|len| pool.lend(vec![0.0; len])).collect();
        assert_eq!((lent.len(), pool.lent.len()), (4, 2));
    }

    #[test]
    fn a_clone_shares_the_buffer_and_holds_it() {
        let a = Floats::from(vec![1.0, 2.0]);
        let b = a.clone();
        assert!(a.same_buffer(&b));
        assert_eq!(a.reclaim(), None);
        assert_eq!(b.reclaim(), Some(vec![1.0, 2.0]));
    }
}
