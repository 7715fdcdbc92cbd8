//! What the targets of `fuzz/` call: any bytes in, a panic out if a promise about them is broken.
//!
//! Each is beside what it tests, and tells whether the bytes were taken. Compiled for `cargo fuzz`
//! and for tests only, which run the same functions over `fuzz/corpus`.

pub use crate::audit::fuzzing::ledger;
pub use crate::checkpoint::fuzzing::{checkpoint, state};
pub use crate::data::fuzzing::idx;
pub use crate::losses::fuzzing::losses;
pub use crate::tcp::fuzzing::{frame, handshake};
pub use crate::tensors::fuzzing::tensors;

#[cfg(test)]
#[path = "../tests/support/corpus.rs"]
pub(crate) mod corpus;

#[cfg(test)]
mod tests {
    use super::corpus::{Corpus, Seed};
    use super::*;

    #[test]
    fn frames() {
        let unhex = |text: &str| {
            let digits: Vec<char> = text.split_whitespace().flat_map(str::chars).collect();
            let byte = |two: &[char]| u8::from_str_radix(&String::from_iter(two), 16).unwrap();
            digits.chunks(2).map(byte).collect()
        };
        let fixtures = Corpus::folder("fixtures/wire", "hex");
        let seeds = fixtures.into_iter().map(|Seed { name, bytes }| {
            let name = name.replace(".hex", "");
            let is_message = !(name.starts_with("note-") || name.starts_with("placed-"));
            Seed {
                name: if is_message { name } else { format!("refused-{name}") },
                bytes: unhex(std::str::from_utf8(&bytes).unwrap()),
            }
        });
        Corpus::of("frame", seeds).survives(frame);
    }

    #[test]
    fn handshakes() {
        Corpus::of("handshake", crate::tcp::fuzzing::handshake_seeds()).survives(handshake);
    }

    #[test]
    fn checkpoints() {
        Corpus::of("checkpoint", crate::checkpoint::fuzzing::checkpoint_seeds())
            .survives(checkpoint);
    }

    #[test]
    fn state_files() {
        Corpus::of("state", crate::checkpoint::fuzzing::state_seeds()).survives(state);
    }

    #[test]
    fn idx_files() {
        Corpus::of("idx", crate::data::fuzzing::idx_seeds()).survives(idx);
    }

    #[test]
    fn ledgers() {
        Corpus::of("ledger", crate::audit::fuzzing::ledger_seeds()).survives(ledger);
    }

    #[test]
    fn files_of_tensors() {
        Corpus::of("tensors", crate::tensors::fuzzing::tensors_seeds()).survives(tensors);
    }

    #[test]
    fn losses_files() {
        Corpus::of("losses", crate::losses::fuzzing::losses_seeds()).survives(losses);
    }
}
