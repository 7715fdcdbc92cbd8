//! The core of Unisono: the protocol as pure state machines, and the loop that runs them on any host.
//!
//! [`protocol`] decides, [`host`] has the traits that a host implements and the one loop, [`wire`]
//! turns messages into bytes. Nothing here opens a file or a socket, reads a clock or starts a thread.

pub mod floats;
pub mod host;
pub mod ids;
pub mod protocol;
pub mod random;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod train_config;
pub mod wire;

pub use floats::Floats;
pub use ids::{Cut, Generation, Incarnation, Job, LinkId, Slot, Step, TaskId};
pub use time::Moment;
