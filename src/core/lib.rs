//! The core of Unisono: the protocol as pure state machines, and the loop that runs a state machine
//! on any host.
//!
//! [`protocol`] makes every decision. [`host`] has the traits that a host implements, and the loop.
//! [`wire`] encodes messages. This crate opens no file and no socket, reads no clock, and starts no
//! thread.

mod partial_debug;

pub mod floats;
pub mod host;
pub mod ids;
pub mod network;
pub mod percent_g;
pub mod protocol;
pub mod random;
pub mod slots;
#[cfg(feature = "testing")]
#[path = "../../tests/unit/scripted_turns.rs"]
pub mod testing;
pub mod time;
pub mod train_config;
pub mod wire;

pub use floats::Floats;
pub use ids::{Cut, Generation, Incarnation, Job, LinkId, Slot, Step, TaskId};
pub use time::Moment;
