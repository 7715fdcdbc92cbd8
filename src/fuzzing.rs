//! What the targets of `fuzz/` call: any bytes in, a panic out if a promise about them is broken.
//!
//! Each is in the module that it tests, and tells whether the bytes were taken. Compiled for
//! `cargo fuzz` alone; the tests of each crate run the same functions over `fuzz/corpus`.

pub use unisono_audit::fuzzing::ledger;
pub use unisono_files::checkpoint::fuzzing::{checkpoint, state};
pub use unisono_files::losses::fuzzing::losses;
pub use unisono_learn::data::fuzzing::idx;
pub use unisono_net::tcp::fuzzing::{frame, handshake};
pub use unisono_tensors::fuzzing::tensors;
