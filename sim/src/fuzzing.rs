//! The functions that the fuzz targets in `fuzz/` call. `unisono::fuzzing` has those for production
//! code. This module is compiled only for the fuzz targets and for tests.

pub use crate::scenario::file::fuzzing::scenario;

#[cfg(test)]
#[expect(dead_code, reason = "the seeds here are files, and not made")]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::corpus::{Corpus, Seed};
    use super::*;

    /// Appends a zero byte and the file that the scenario file extends.
    fn with_extended_files(folder: &str, Seed { name, mut bytes }: Seed) -> Seed {
        let mut from = 0;
        while let Some(extended) = extended(&String::from_utf8_lossy(&bytes[from..])) {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            bytes.push(0);
            from = bytes.len();
            bytes.extend(fs::read(root.join(folder).join(extended)).unwrap());
        }
        Seed { name, bytes }
    }

    fn extended(text: &str) -> Option<String> {
        let line = text.lines().find_map(|line| line.strip_prefix("extends = "))?;
        Some(line.trim_matches('"').to_owned())
    }

    #[test]
    fn scenario_target_survives_the_corpus() {
        let folders = ["scenarios", "scenarios/crashes", "fuzz/corpus/scenario"];
        let seeds = |folder: &'static str| {
            let files = Corpus::folder(folder, "toml").into_iter();
            files.map(move |seed| with_extended_files(folder, seed))
        };
        Corpus(folders.into_iter().flat_map(seeds).collect()).survives(scenario);
    }
}
