//! Memory that two processes of one machine share: one writes, the other one reads.
//!
//! A [`Buffer`] is made by the process that writes it, and known by an [`Offer`] which any way of
//! talking can bring to the other process, for [`View::open`]. It is an anonymous file of a fixed
//! length, so it is gone when both processes are, however they end; and only a process of the same
//! user opens it.
//!
//! A seal keeps every other process from writing a buffer, so its owner may refer into it. Whoever
//! has a view may not: the owner goes on writing. So a view only gives copies, and what an owner that
//! follows no rules does meanwhile can be seen only in the bytes that were copied.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "elsewhere.rs")]
mod system;

pub use system::{Buffer, View};

/// By which another process finds a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The process that made it.
    pub process: u32,
    /// Its number among the files of that process.
    pub file: u32,
    /// What tells it from all other buffers; best drawn at random.
    pub token: [u8; 16],
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
