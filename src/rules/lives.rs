//! What every life was seen to be told and to do: its sessions, and where its shard or its work
//! stands. Follows from inputs and effects alone; no node is asked.

pub(crate) mod life;
mod shard;
mod work;

pub use life::{Life, Lives, Session};
pub(super) use shard::{Fate, Pushed};
pub use shard::{Held, Shard};
pub use work::Work;
