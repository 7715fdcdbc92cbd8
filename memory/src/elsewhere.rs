//! Where there is no such memory.

use std::convert::Infallible;
use std::io;

use crate::{Offer, OutOfRange};

/// Memory that this process writes.
#[derive(Debug)]
pub struct Memory(Infallible);

/// The counter of memory that this process writes.
#[derive(Debug)]
pub struct Counter(Infallible);

/// Memory that another process writes.
#[derive(Debug)]
pub struct View(Infallible);

impl Memory {
    /// None is made.
    ///
    /// # Errors
    /// Always.
    pub fn new(_n_bytes: usize, _token: [u8; 16]) -> io::Result<(Self, Counter)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// By which the other process finds it.
    #[must_use]
    pub fn offer(&self) -> Offer {
        match self.0 {}
    }

    /// Makes sure that there are pages.
    ///
    /// # Errors
    /// If there are none.
    pub fn reserve(&mut self, _end: usize) -> io::Result<()> {
        match self.0 {}
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// If they are more than there is room for.
    pub fn write(&mut self, _at: usize, _bytes: &[u8]) -> Result<(), OutOfRange> {
        match self.0 {}
    }
}

impl Counter {
    /// Sets it.
    pub fn set(&self, _count: u32) {
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

    /// The counter's value.
    #[must_use]
    pub fn count(&self) -> u32 {
        match self.0 {}
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// If there are none.
    pub fn read(&self, _at: usize, _bytes: &mut [u8]) -> Result<(), OutOfRange> {
        match self.0 {}
    }
}
