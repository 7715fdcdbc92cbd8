//! The production host: TCP through tokio, the machine's clock, a compute thread.
//!
//! It moves whole frames and tells events; who may say what, and when to call again, is the
//! protocol's business.

pub mod clock;
pub mod compute;
mod connector;
mod happening;
mod link;
pub mod listener;
pub mod network;
mod reader;
pub mod storage;
mod writer;

pub use clock::RealClock;
pub use compute::{ComputeThread, InlineCompute};
pub use listener::{BindError, bind};
pub use network::TcpNetwork;
pub use storage::FileStorage;

#[cfg(test)]
mod tests;
