//! The rules of `docs/protocol.md`, as checks of what the nodes of a run take and do. One file for
//! each rule.
//!
//! | rule | file | checked |
//! |---|---|---|
//! | – | `history` | values that are computed twice have the same bits; if R ≥ N, in another generation too |
//! | 1 | `exactly_r` | an update uses R gradients of its version and shard, and the slots of all other shards |
//! | 2 | `which_r` | the slots are all, or the first R that, to the knowledge of ps 0, every shard holds |
//! | 3 | `fixed_order` | an update is given its gradients in ascending order of slots |
//! | 4 | `idempotent` | a push has the bits that were computed for its identity; only a copy is answered as one |
//! | 5 | `stale_is_told` | an unused gradient is counted, and answered if stale; a held one is used or counted |
//! | 6 | `whole_versions` | a gradient is computed at one version of every shard, and a sent version was made |
//! | 7 | `checkpoints_are_cuts` | a checkpoint is the states at one cut with its losses; a restored state was saved |
//! | 8 | `fencing` | older incarnations, closed links and older generations change nothing |
//! | 9 | `nobody_waits_unseen` | a wait is reported in time, and a silent peer is disconnected in time |
//! | 10 | `clean_end` | the number of updates; no message of the end before the end is durable; whole files |
//! | 11 | `bounded` | a window of pushes on each link; no honest task is disconnected because it reads slowly |
//!
//! [`Rules`] watches a run turn by turn. A rule knows of a node only what follows from its inputs and
//! effects (`lives`), and compares with what was made before (`history`). `unisono_core::slots`
//! has the parts of the rules that hold for plain values, so that an audit of ledgers can share them.

mod files;
mod history;
mod life_id;
mod life_turn;
mod lives;
mod made;
mod rule;
mod rules;
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

pub use life_id::LifeId;
pub use life_turn::LifeTurn;
pub use rule::End;
pub use rules::Rules;
pub use violation::{Difference, Violation};
