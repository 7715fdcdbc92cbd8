//! The sessions of each incarnation of a task, and the state of its shard or its work. Everything
//! follows from the inputs and effects of its node; the node itself is not asked.

mod life;
mod old;
mod shard;
mod work;

pub(crate) use life::{Life, Lives, Session};
pub(crate) use old::Old;
pub(crate) use shard::{Fate, Pushed, Shard};
