//! The functions that the fuzz targets in `fuzz/` call. Each function accepts any bytes, and panics
//! if the program handles the bytes wrongly.
//!
//! Each function is defined in the module that it tests, and returns whether that module accepted
//! the bytes. This module is compiled only for `cargo fuzz`. The unit tests of each crate run the
//! same functions on the files in `fuzz/corpus`.

pub use unisono_audit::fuzzing::ledger;
pub use unisono_files::checkpoint::fuzzing::{checkpoint, state};
pub use unisono_files::losses::fuzzing::losses;
pub use unisono_learn::data::fuzzing::idx;
pub use unisono_net::tcp::fuzzing::{frame, handshake};
pub use unisono_tensors::fuzzing::tensors;
