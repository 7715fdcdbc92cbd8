//! Where there is no such memory.

use std::convert::Infallible;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Weak;

use crate::Offer;

/// Memory that this process writes, and others can be let read.
#[derive(Debug)]
pub struct Buffer(Infallible);

/// Memory that another process writes.
#[derive(Debug)]
pub struct View(Infallible);

impl Buffer {
    /// None is made.
    ///
    /// # Errors
    /// Always.
    pub fn new(_n_bytes: usize, _token: [u8; 16]) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// By which another process finds it.
    #[must_use]
    pub fn offer(&self) -> Offer {
        match self.0 {}
    }

    /// There as long as the buffer is.
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
    /// None is found.
    ///
    /// # Errors
    /// Always.
    pub fn open(_offer: &Offer, _max_bytes: usize) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The length, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        match self.0 {}
    }

    /// Copies the bytes from `at` on.
    pub fn read(&self, _at: usize, _bytes: &mut [u8]) {
        match self.0 {}
    }
}
