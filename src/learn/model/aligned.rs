//! Room for values that starts on a cache line.

/// Values a cache line.
pub(crate) const LINE: usize = 16;

/// A buffer of f32 values whose first is at the start of a cache line.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    /// The values, after as many unused ones as put the first on a cache line.
    buffer: Vec<f32>,
    offset: usize,
    len: usize,
}

impl Aligned {
    /// Zeros.
    pub(crate) fn new(len: usize) -> Self {
        let buffer = vec![0.0f32; len + LINE - 1];
        let misaligned = buffer.as_ptr() as usize / size_of::<f32>() % LINE;
        Self { buffer, offset: (LINE - misaligned) % LINE, len }
    }

    /// Room for at least `len` values; what was in it may be lost.
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
