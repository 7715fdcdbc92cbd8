//! What the targets of `fuzz/` call, as `unisono::fuzzing`. Compiled for them and for tests only.

pub use crate::scenario::file::fuzzing::scenario;

#[cfg(test)]
#[expect(dead_code, reason = "the seeds here are files, and not made")]
#[path = "../../tests/support/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use super::corpus::Corpus;
    use super::*;

    #[test]
    fn scenarios() {
        let folders = ["scenarios", "scenarios/crashes", "fuzz/corpus/scenario"];
        let seeds = folders.into_iter().flat_map(|folder| Corpus::folder(folder, "toml"));
        Corpus(seeds.collect()).survives(scenario);
    }
}
