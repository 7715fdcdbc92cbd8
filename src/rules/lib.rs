//! Checks the inputs and effects of all nodes of a run against the rules of `docs/protocol.md`.
//! Each rule has its own file.
//!
//! | rule | file | checked |
//! |---|---|---|
//! | – | `history` | values that are computed twice have the same bits, even in two generations if R ≥ N |
//! | 1 | `exactly_r` | an update uses R gradients of its version and shard, and the same slots as other shards |
//! | 2 | `which_r` | the slots are all, or the first R slots that every shard holds, as far as ps 0 knows |
//! | 3 | `fixed_order` | an update is given its gradients in ascending order of slots |
//! | 4 | `idempotent` | a push has the bits computed for its identity; only a duplicate is answered as a duplicate |
//! | 5 | `stale_is_told` | an unused gradient is counted, and answered if stale; a held gradient is used or counted |
//! | 6 | `whole_versions` | a gradient is computed at one version of every shard, and a sent version was made |
//! | 7 | `checkpoints_are_cuts` | a checkpoint has all states of one generation and step; a restored state was saved |
//! | 8 | `fencing` | inputs from older incarnations, closed links and older generations change nothing |
//! | 9 | `nobody_waits_unseen` | a wait is reported in time, and a silent peer is disconnected in time |
//! | 10 | `clean_end` | the number of updates; no message of the end before the final checkpoint; complete files |
//! | 11 | `bounded` | a limit of pushes on each link; no honest task is disconnected because it reads slowly |
//!
//! [`Rules`] checks a run turn by turn. A turn is one handled input with its effects. A rule
//! derives the state of a node only from the node's inputs and effects (`lives`), and compares this
//! state with all values that were computed before (`history`). `unisono_core::slots` contains the
//! parts of the rules that check plain values, so that the audit of ledgers can share them.

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
