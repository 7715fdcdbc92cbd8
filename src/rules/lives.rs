//! What each life took and did: its sessions, and the state of its shard or its work. All of it
//! follows from inputs and effects; no node is asked.

mod life;
mod old;
mod shard;
mod work;

pub(crate) use life::{Life, Lives, Session};
pub(crate) use old::Old;
pub(crate) use shard::{Fate, Pushed, Shard};
