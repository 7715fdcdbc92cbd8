//! The state of the newest process of each task: the sessions, and the shard of a ps or the work of
//! a worker. This state is derived only from the inputs and effects of the node.

mod life;
mod old;
mod shard;
mod work;

pub(crate) use life::{Life, Lives, Session};
pub(crate) use old::Old;
pub(crate) use shard::{Fate, Pushed, Shard};
