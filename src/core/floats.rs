//! Reference-counted, immutable buffers of `f32`, which hold gradients and parameters.
//!
//! A clone copies no floats, so a broadcast of a version needs no copy per worker. A buffer can
//! also represent floats in the memory of another process. Such floats are copied only when they
//! are read.

use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A flat, immutable `f32` buffer, shared by reference count.
#[derive(Clone, Default)]
pub struct Floats(Arc<Inner>);

#[derive(Default)]
struct Inner {
    values: Values,
    checksum: OnceLock<u32>,
    is_retired: AtomicBool,
}

enum Values {
    Local(Buffer),
    /// Floats in the memory of another process. They are copied when they are read.
    Remote {
        len: usize,
        source: Box<dyn RemoteFloats>,
        /// A local copy of all floats. The copy is made when a reader first requests the floats as
        /// one slice.
        copy: OnceLock<Vec<f32>>,
    },
}

impl Default for Values {
    fn default() -> Self {
        Self::Local(Buffer::default())
    }
}

/// Floats in the memory of another process. The other process does not change the floats until this
/// value is dropped.
pub trait RemoteFloats: Send + Sync {
    /// Copies `values.len()` floats, beginning with the float at index `start`, into `values`.
    ///
    /// # Panics
    /// Panics if the buffer has fewer floats after `start`.
    fn read(&self, start: usize, values: &mut [f32]);
}

impl Floats {
    /// Creates a buffer of `len` floats that are in the memory of another process.
    #[must_use]
    pub fn remote(len: usize, source: Box<dyn RemoteFloats>) -> Self {
        let values = Values::Remote { len, source, copy: OnceLock::new() };
        Self(Arc::new(Inner { values, ..Inner::default() }))
    }

    /// Returns the number of floats.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0.values {
            Values::Local(buffer) => buffer.len(),
            Values::Remote { len, .. } => *len,
        }
    }

    /// Returns whether the buffer has no floats.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the floats of a range, for callers that read each float once. Local floats are
    /// returned in place. Remote floats that have no local copy yet are copied to `room`, so that
    /// no copy of the whole buffer is made.
    ///
    /// # Panics
    /// Panics if the range exceeds the buffer, or if remote floats do not fit in `room`.
    #[must_use]
    pub fn chunk<'a>(&'a self, range: Range<usize>, room: &'a mut [f32]) -> &'a [f32] {
        match &self.0.values {
            Values::Remote { copy, .. } if copy.get().is_none() => {
                let room = &mut room[..range.len()];
                self.read(range.start, room);
                room
            }
            _ => &self[range],
        }
    }

    /// Copies `values.len()` floats, beginning with the float at index `start`, into `values`.
    ///
    /// # Panics
    /// Panics if the buffer has fewer floats after `start`.
    pub fn read(&self, start: usize, values: &mut [f32]) {
        match &self.0.values {
            Values::Remote { source, copy, .. } if copy.get().is_none() => {
                source.read(start, values)
            }
            _ => values.copy_from_slice(&self[start..][..values.len()]),
        }
    }

    /// Returns the floats as little-endian bytes, without a copy of local floats.
    #[must_use]
    #[cfg(target_endian = "little")]
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }

    /// Returns the CRC32C of [`Self::as_bytes`]. The checksum is computed once for all clones of
    /// the buffer.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        *self.0.checksum.get_or_init(|| crc32c::crc32c(self.as_bytes()))
    }

    /// Creates a buffer whose [`Self::checksum`] is already known.
    #[must_use]
    pub fn with_checksum(values: impl Into<Buffer>, checksum: u32) -> Self {
        let values = Values::Local(values.into());
        Self(Arc::new(Inner { values, checksum: checksum.into(), ..Inner::default() }))
    }

    /// Returns the [`Memory`] that a host provided for the buffer, or `None` for any other buffer.
    #[must_use]
    pub fn memory(&self) -> Option<&dyn Memory> {
        match &self.0.values {
            Values::Local(Buffer(Storage::Host(memory))) => Some(&**memory),
            _ => None,
        }
    }

    /// Marks the buffer as never reusable: a disconnected peer may still be reading it.
    pub fn retire(&self) {
        self.0.is_retired.store(true, Ordering::Relaxed);
    }

    fn is_retired(&self) -> bool {
        self.0.is_retired.load(Ordering::Relaxed)
    }

    /// Returns whether both values share one buffer in memory.
    #[must_use]
    pub fn same_buffer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns whether the buffer has no other clone.
    #[must_use]
    pub fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Returns the memory of the buffer for reuse, or `None` if the buffer is remote or has another
    /// clone.
    fn reclaim(self) -> Option<Buffer> {
        match Arc::try_unwrap(self.0).ok()?.values {
            Values::Local(buffer) => Some(buffer),
            Values::Remote { .. } => None,
        }
    }
}

impl Values {
    fn all(&self) -> &[f32] {
        match self {
            Self::Local(buffer) => buffer,
            Self::Remote { len, source, copy } => copy.get_or_init(|| {
                let mut values = vec![0.0; *len];
                source.read(0, &mut values);
                values
            }),
        }
    }
}

/// A buffer of floats that can be written.
#[derive(Debug, Default)]
pub struct Buffer(Storage);

#[derive(Debug)]
enum Storage {
    Private(Vec<f32>),
    Host(Box<dyn Memory>),
}

impl Default for Storage {
    fn default() -> Self {
        Self::Private(Vec::new())
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Storage::Private(values) => values,
            Storage::Host(memory) => bytemuck::cast_slice(memory.bytes()),
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.0 {
            Storage::Private(values) => values,
            Storage::Host(memory) => bytemuck::cast_slice_mut(memory.bytes_mut()),
        }
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        Self(Storage::Private(values))
    }
}

impl Buffer {
    /// Creates a buffer in memory that a host provides. The memory's length must be a multiple of 4
    /// bytes.
    #[must_use]
    pub fn in_memory(memory: impl Memory) -> Self {
        Self(Storage::Host(Box::new(memory)))
    }
}

/// Memory that a host provides for a buffer, such as memory that other processes can read.
pub trait Memory: Any + fmt::Debug + Send + Sync {
    /// Returns the content.
    fn bytes(&self) -> &[u8];

    /// Returns the content for writing.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// A pool of buffers. The pool reuses a buffer once all clones of the buffer have been dropped.
///
/// The pool saves time. A version or a gradient can have megabytes, and obtaining fresh memory from
/// the operating system takes longer than writing the floats.
#[derive(Debug)]
pub struct Pool {
    lent: Vec<Floats>,
    max_lent: usize,
    make: MakeBuffer,
}

/// A function that creates a buffer with the given number of zeros.
pub type MakeBuffer = fn(usize) -> Buffer;

impl Pool {
    /// Creates a pool that remembers at most `max_lent` lent buffers for reuse. When a further
    /// buffer is lent, the pool forgets its oldest buffer, which is then freed instead of reused.
    #[must_use]
    pub const fn new(max_lent: usize) -> Self {
        Self { lent: Vec::new(), max_lent, make: |len| vec![0.0; len].into() }
    }

    /// Sets the function that makes new buffers.
    pub fn make_buffers(&mut self, make: MakeBuffer) {
        self.make = make;
    }

    /// Returns a buffer of `len` arbitrary values.
    #[must_use]
    pub fn take(&mut self, len: usize) -> Buffer {
        self.lent.retain(|floats| !floats.is_retired());
        let is_free = |floats: &Floats| floats.len() == len && floats.is_unshared();
        let free = self.lent.iter().position(is_free).map(|free| self.lent.swap_remove(free));
        free.and_then(Floats::reclaim).unwrap_or_else(|| (self.make)(len))
    }

    /// Converts a written buffer into shared floats. The pool reuses the buffer once all clones of
    /// the floats are dropped.
    #[must_use]
    pub fn lend(&mut self, values: impl Into<Floats>) -> Floats {
        let floats = values.into();
        self.lent.push(floats.clone());
        if self.lent.len() > self.max_lent {
            // The pool forgets its oldest buffer. Otherwise a buffer of a length that is no longer
            // needed would stay in the pool for ever.
            self.lent.remove(0);
        }
        floats
    }
}

#[cfg(target_endian = "big")]
compile_error!(
    "tensors travel as little-endian bytes in place; a big-endian host is not supported"
);

impl From<Buffer> for Floats {
    fn from(values: Buffer) -> Self {
        let values = Values::Local(values);
        Self(Arc::new(Inner { values, ..Inner::default() }))
    }
}

impl From<Vec<f32>> for Floats {
    fn from(values: Vec<f32>) -> Self {
        Buffer::from(values).into()
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.values.all()
    }
}

/// Compares the bits of the floats: `0.0` differs from `-0.0`, and a NaN equals a NaN with the same
/// bits.
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
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn floats_are_compared_by_their_bits() {
        assert_ne!(Floats::from(vec![0.0]), Floats::from(vec![-0.0]));
        assert_eq!(Floats::from(vec![f32::NAN]), Floats::from(vec![f32::NAN]));
    }

    #[test]
    fn pool_reuses_a_buffer_only_after_its_last_clone_is_dropped() {
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
    fn pool_remembers_at_most_its_limit_of_buffers() {
        let mut pool = Pool::new(2);
        let lent: Vec<_> = (1..5).map(|len| pool.lend(vec![0.0; len])).collect();
        assert_eq!((lent.len(), pool.lent.len()), (4, 2));
    }

    #[test]
    fn clone_shares_the_buffer_and_prevents_its_reuse() {
        let a = Floats::from(vec![1.0, 2.0]);
        let b = a.clone();
        assert!(a.same_buffer(&b));
        assert!(a.reclaim().is_none());
        assert_eq!(b.reclaim().as_deref(), Some(&[1.0, 2.0][..]));
    }

    /// Remote floats with the values 0, 1, 2, …: the value of each float is its index. The counter
    /// is the number of floats that were read so far.
    struct Counting(Arc<AtomicUsize>);

    impl RemoteFloats for Counting {
        fn read(&self, start: usize, values: &mut [f32]) {
            self.0.fetch_add(values.len(), Ordering::Relaxed);
            (start..).zip(values).for_each(|(number, value)| *value = number as f32);
        }
    }

    #[test]
    fn remote_floats_are_copied_when_they_are_read_and_as_a_whole_only_once() {
        let n_read = Arc::new(AtomicUsize::new(0));
        let floats = Floats::remote(9, Box::new(Counting(Arc::clone(&n_read))));
        let read = || n_read.load(Ordering::Relaxed);
        assert_eq!((floats.len(), read()), (9, 0));
        assert_eq!(floats.chunk(3..5, &mut [0.0; 4]), [3.0, 4.0]);
        assert_eq!(read(), 2);
        assert_eq!(floats[6..], [6.0, 7.0, 8.0]);
        assert_eq!(floats, (0..9).map(|number| number as f32).collect::<Vec<_>>().into());
        let mut room = [-1.0; 4];
        assert_eq!(floats.chunk(3..5, &mut room), [3.0, 4.0]);
        assert_eq!((room, read()), ([-1.0; 4], 11), "they are here by now");
        assert!(floats.reclaim().is_none(), "they are not ours to be written");
    }

    #[test]
    fn local_floats_are_read_in_place() {
        let floats = Floats::from(vec![1.0, 2.0, 3.0]);
        assert_eq!(floats.chunk(1..3, &mut []).as_ptr(), floats[1..].as_ptr());
    }

    #[test]
    fn retired_buffer_is_never_reused() {
        let mut pool = Pool::new(2);
        pool.lend(vec![1.0; 3]).retire();
        assert_eq!(pool.lend(vec![2.0; 3])[..], [2.0; 3]);
        assert_eq!(pool.take(3)[..], [2.0; 3]);
        assert_eq!(pool.lent.len(), 0, "nor remembered");
        assert_eq!(pool.take(3)[..], [0.0; 3]);
    }
}
