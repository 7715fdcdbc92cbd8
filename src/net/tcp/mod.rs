//! The production host: TCP through tokio, the machine's clock, a compute thread.
//!
//! It moves whole frames and tells events; who may say what, and when to call again, is the
//! protocol's business.

mod admission;
pub mod clock;
pub mod compute;
mod connector;
mod entrance;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod happening;
mod io_error;
mod link;
pub mod listener;
mod memory;
pub mod network;
mod reader;
mod room;
pub mod security;
pub mod storage;
mod timeouts;
mod traffic;
mod writer;

pub use crate::tcp::security::security::Security;
pub use clock::{RealClock, wall_clock};
pub use compute::{ComputeThread, InlineCompute};
pub use listener::{BindError, Listeners, bind, bind_everywhere};
pub use memory::{can_share, shareable};
pub use network::{NetworkConfig, TcpNetwork};
pub use storage::FileStorage;
pub use traffic::{Counts, Traffic};

#[cfg(test)]
mod tests;
