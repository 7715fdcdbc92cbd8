//! One task of a cluster, from its configuration to its exit code.
//!
//! | module | content |
//! |---|---|
//! | [`ps`], [`worker`] | the two kinds of tasks |
//! | `run` | a node on the production host, until it halts |
//! | [`setup`], [`listen`], [`fresh`] | what a task needs before it starts |
//! | [`incarnation`] | the number that orders the processes of one task |
//! | [`stop`] | what ends a task: signals, and the end of its parent |
//! | [`events`], `ledger`, `trace`, `metrics`, `console` | what a task records and shows |
//! | [`in_process`] | a whole run within the calling process, for programs that embed Unisono |
//! | [`evaluation`], [`data_note`] | accuracy of a checkpoint, and the data it belongs to |

mod console;
pub mod data_note;
pub mod evaluation;
pub mod events;
pub mod fresh;
pub mod in_process;
pub mod incarnation;
mod ledger;
pub mod listen;
mod metrics;
mod pace;
pub mod process;
pub mod ps;
mod run;
pub mod setup;
pub mod stop;
pub mod task_config;
mod trace;
pub mod worker;
