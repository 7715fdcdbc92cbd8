//! The implementation for systems without shared memory. The types are the same as on Linux, but
//! values of these types cannot be created.

use std::convert::Infallible;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Weak;

use crate::Offer;

/// Memory that this process writes and other processes can read.
#[derive(Debug)]
pub struct Buffer(Infallible);

/// Memory that another process writes and this process reads.
#[derive(Debug)]
pub struct View(Infallible);

impl Buffer {
    /// Fails, because the system has no shared memory.
    ///
    /// # Errors
    /// Always.
    pub fn new(_n_bytes: usize, _token: [u8; 16]) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the offer with which another process can open the buffer.
    #[must_use]
    pub fn offer(&self) -> Offer {
        match self.0 {}
    }

    /// Returns a weak reference that can be upgraded as long as the buffer exists.
    #[must_use]
    pub fn life(&self) -> Weak<()> {
        match self.0 {}
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.0 {}
    }
}

impl View {
    /// Fails, because the system has no shared memory.
    ///
    /// # Errors
    /// Always.
    pub fn open(_offer: &Offer, _max_bytes: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        match self.0 {}
    }

    /// Copies bytes of the view into `bytes`, beginning at offset `at`, until `bytes` is full.
    pub fn read(&self, _at: usize, _bytes: &mut [u8]) {
        match self.0 {}
    }
}
