//! Buffers that start on a cache line.

/// Number of f32 values per cache line.
pub(crate) const LINE: usize = 16;

/// A buffer of f32 values whose first value is at the start of a cache line.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    /// The values. They begin after `offset` unused values, because a `Vec<f32>` guarantees only an
    /// alignment of 4 bytes.
    buffer: Vec<f32>,
    offset: usize,
    len: usize,
}

impl Aligned {
    /// Returns a buffer of `len` zeros.
    pub(crate) fn new(len: usize) -> Self {
        let buffer = vec![0.0f32; len + LINE - 1];
        let misaligned = buffer.as_ptr() as usize / size_of::<f32>() % LINE;
        Self { buffer, offset: (LINE - misaligned) % LINE, len }
    }

    /// Grows the buffer to at least `len` values. If the buffer grows, all its values become zero.
    pub(crate) fn reserve(&mut self, len: usize) {
        if len > self.len {
            *self = Self::new(len);
        }
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.buffer[self.offset..][..self.len]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[self.offset..][..self.len]
    }
}
