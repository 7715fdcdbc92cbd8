//! Memory that two processes of one machine share: one process writes it, and the other process
//! reads it.
//!
//! The writing process makes a [`Buffer`] and sends its [`Offer`] to the reading process, over any
//! channel. The reading process passes the offer to [`View::open`]. Both processes must belong to
//! the same user. A buffer is an anonymous file of a fixed length. The system frees the buffer when
//! both processes have closed it or have ended, even after a crash.
//!
//! A seal prevents every process except the owner from writing a buffer. Therefore, the owner may
//! hold references into its buffer. A view holds no references and only copies bytes out, because
//! the owner may write at any time. If the owner writes during a copy, only the copied bytes are
//! affected.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "elsewhere.rs")]
mod system;

pub use system::{Buffer, View};

/// The description by which another process finds a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The id of the process that made the buffer.
    pub process: u32,
    /// The file descriptor of the buffer in that process.
    pub file: u32,
    /// A token that identifies the buffer. The token should be random, so that no other process can
    /// guess it.
    pub token: [u8; 16],
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
