//! What must always hold: one file for each rule of `docs/protocol.md`.
//!
//! | rule | file | checked |
//! |---|---|---|
//! | – | `history` | what is made twice has the same bits, also in another generation if R ≥ N |
//! | 1 | `exactly_r` | an update is of R gradients of its version and shard, the slots of all shards the same |
//! | 2 | `which_r` | the slots are all, or the first R that ps 0 learns every shard holds |
//! | 3 | `fixed_order` | an update is given its gradients ascending by slot |
//! | 4 | `idempotent` | a push is what was computed under its name; a copy is said to be one, nothing else is |
//! | 5 | `stale_is_told` | what is not used is counted and answered; what is held is used or counted |
//! | 6 | `whole_versions` | a gradient is computed at one version of every shard, and a version sent is one that was made |
//! | 7 | `checkpoints_are_cuts` | a checkpoint is the states at one cut with its losses; what is restored was saved |
//! | 8 | `fencing` | older lives, closed links and older generations change nothing |
//! | 9 | `nobody_waits_unseen` | who waits says so in time; who is silent is parted from in time |
//! | 10 | `clean_end` | exactly so many updates; nobody speaks of the end before it is durable; the files are whole |
//! | 11 | `bounded` | a window of pushes a link; no honest task is cut off for not reading |
//!
//! A rule is about what a node does, not about what it is: all that it knows of one follows from its
//! inputs and effects (`lives`), all that it compares with from what was made before (`history`).

mod all;
mod files;
mod history;
mod invariant;
mod kept;
mod life_id;
mod lives;
mod stamp;
mod suspicions;
#[cfg(test)]
mod tests;
mod violation;

mod bounded;
mod checkpoints_are_cuts;
mod clean_end;
mod exactly_r;
mod fencing;
mod fixed_order;
mod idempotent;
mod nobody_waits_unseen;
mod stale_is_told;
mod which_r;
mod whole_versions;

pub use all::Invariants;
pub use files::Files;
pub use history::{Gradient, History, Origin, Version};
pub use invariant::{At, End, Invariant};
pub use kept::{Kept, KeptState};
pub use life_id::LifeId;
pub use lives::{Held, Life, Lives, Session, Shard, Work};
pub use stamp::Stamp;
pub use violation::{Difference, Violation};
