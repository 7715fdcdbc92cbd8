//! The production host: TCP with tokio, the machine's clocks, a compute thread and a storage
//! thread.
//!
//! The host moves whole frames and reports events. The protocol decides which messages a peer may
//! send and when to reconnect.

mod admission;
pub mod clock;
pub mod compute;
mod connector;
mod entrance;
mod events;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzzing/frame.rs"]
pub mod fuzzing;
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

pub use crate::tcp::security::authentication::Security;
pub use clock::{RealClock, wall_clock};
pub use compute::{ComputeThread, InlineCompute};
pub use listener::{BindError, Listeners, bind, bind_everywhere};
pub use memory::{can_share, shareable};
pub use network::{NetworkConfig, TcpNetwork};
pub use storage::FileStorage;
pub use traffic::{Counts, Traffic};

#[cfg(test)]
mod tests;
