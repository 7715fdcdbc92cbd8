//! Memory that two processes of one machine share: one writes, the other one reads.
//!
//! [`Memory`] is made by the process that writes it, and known by an [`Offer`] which any way of
//! talking can bring to the other process, for [`View::open`]. It is an anonymous file of a fixed
//! length, so it is gone when both processes are, however they end; and only a process of the same
//! user opens it. Its first word is a counter, which both see at once.
//!
//! What a peer that follows no rules does to memory while it is read can be seen only in the bytes
//! that were read: nothing refers into the memory, and a seal keeps it from getting shorter.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "elsewhere.rs")]
mod system;

pub use system::{Counter, Memory, View};

/// Where the bytes begin: behind the page with the counter.
pub const START: usize = 4096;

/// By which another process finds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The process that made it.
    pub process: u32,
    /// Its number among the files of that process.
    pub file: u32,
    /// What tells it from all other memory; best drawn at random.
    pub token: [u8; 16],
}

/// There is no such range in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// Where it would begin.
    pub at: usize,
    /// How long it would be, in bytes.
    pub n_bytes: usize,
    /// How long the memory is, in bytes.
    pub memory_bytes: usize,
}

impl std::fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at, n_bytes, memory_bytes } = self;
        write!(f, "the memory has {memory_bytes} bytes, not {n_bytes} at {at}")
    }
}

impl std::error::Error for OutOfRange {}

/// Whether the range is within the memory, and behind the counter.
#[cfg_attr(not(target_os = "linux"), expect(dead_code))]
fn check(at: usize, n_bytes: usize, memory_bytes: usize) -> Result<(), OutOfRange> {
    let ends = at.checked_add(n_bytes);
    if at >= START && ends.is_some_and(|end| end <= memory_bytes) {
        return Ok(());
    }
    Err(OutOfRange { at, n_bytes, memory_bytes })
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
