//! Memory that two processes of one machine share: one process writes, and the other one reads.
//!
//! The writing process makes a [`Buffer`] and sends its [`Offer`] to the reading process, by any
//! channel. The reading process passes the offer to [`View::open`], which requires that both
//! processes belong to one user. A buffer is an anonymous file of a fixed length, so the system
//! frees it when both processes have ended, even after a crash.
//!
//! A seal prevents every other process from writing a buffer, so the owner may hold references into
//! it. The owner may write at any time, so a view holds no references and only copies bytes out. An
//! owner that breaks the rules can therefore change only the copied bytes.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "elsewhere.rs")]
mod system;

pub use system::{Buffer, View};

/// The description with which another process finds a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The id of the process that made the buffer.
    pub process: u32,
    /// The file descriptor of the buffer in that process.
    pub file: u32,
    /// The token that distinguishes the buffer from all others. It should be random.
    pub token: [u8; 16],
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
