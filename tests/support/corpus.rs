//! The seeds of a fuzz target in `fuzz/corpus`, and mutants of these seeds.
//!
//! The mutants are the same in every run. They correspond to a second of fuzzing, without
//! libFuzzer.

#[path = "../../fuzz/src/memory.rs"]
mod memory;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Number of mutants of all seeds together. The slowest target runs some 20,000 inputs per second.
const N_MUTANTS: usize = 20_000;

/// Limit of truncations per seed. Seeds of fewer bytes are cut at every length.
const MAX_CUTS: usize = 256;

/// Length of the longest mutant in bytes, as in libFuzzer.
const MAX_BYTES: usize = 4096;

/// An input that a target accepts, or refuses if its name begins with `refused-`.
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Seed {
    pub(crate) fn new(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), bytes: bytes.into() }
    }
}

pub(crate) struct Corpus(pub(crate) Vec<Seed>);

impl Corpus {
    /// Returns the seeds `made` of a target, and asserts that they equal the files in its folder.
    /// After an intended change, run `UPDATE_FIXTURES=1 cargo test --workspace --lib fuzzing`.
    pub(crate) fn of(target: &str, made: impl IntoIterator<Item = Seed>) -> Self {
        let made: Vec<Seed> = made.into_iter().collect();
        let folder = root().join("fuzz/corpus").join(target);
        for Seed { name, bytes } in &made {
            let path = folder.join(name);
            if std::env::var_os("UPDATE_FIXTURES").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, bytes).unwrap();
            }
            let committed = fs::read(&path).unwrap_or_default();
            assert!(committed == *bytes, "{} differs from the generated seed", path.display());
        }
        Self(made)
    }

    /// Returns the files of a folder with this extension, sorted by name.
    #[allow(dead_code, reason = "not every crate has seeds in files")]
    pub(crate) fn folder(folder: &str, extension: &str) -> Vec<Seed> {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|found| found == extension));
        paths.sort();
        let seed = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            Seed::new(name, fs::read(path).unwrap())
        };
        paths.iter().map(seed).collect()
    }

    /// Asserts that a target accepts or refuses each seed as its name says, and panics on no
    /// mutant.
    pub(crate) fn survives(&self, target: fn(&[u8]) -> bool) {
        assert!(!self.0.is_empty(), "there are seeds");
        for seed in &self.0 {
            let taken = run(target, &seed.name, &seed.bytes);
            assert_eq!(taken, !seed.name.starts_with("refused-"), "{} is accepted", seed.name);
        }
        let mut random = SplitMix(20_261_123);
        let (mut n_taken, mut n_refused) = (0, 0);
        for seed in &self.0 {
            for mutant in self.mutants(seed, &mut random) {
                if run(target, &seed.name, &mutant) { n_taken += 1 } else { n_refused += 1 }
            }
        }
        assert!(n_refused > n_taken / 100, "{n_refused} mutants refused, {n_taken} accepted");
    }

    fn mutants(&self, seed: &Seed, random: &mut SplitMix) -> Vec<Vec<u8>> {
        let len = seed.bytes.len();
        let n_cuts = len.min(MAX_CUTS);
        let cuts = (0..n_cuts).map(|cut| seed.bytes[..cut * len / n_cuts].to_vec());
        let mut mutants: Vec<_> = cuts.collect();
        for _ in 0..N_MUTANTS / self.0.len() {
            let mut bytes = seed.bytes.clone();
            for _ in 0..=random.below(4) {
                let other = &self.0[random.below(self.0.len())].bytes;
                mutate(&mut bytes, other, random);
            }
            bytes.truncate(MAX_BYTES);
            mutants.push(bytes);
        }
        mutants
    }
}

/// Makes one random change: flips a bit, replaces a byte or a number, or removes, repeats or
/// inserts a part.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut SplitMix) {
    const NUMBERS: [u32; 8] = [0, 1, 0x7f, 0xff, 0xffff, 1 << 20, i32::MAX as u32, u32::MAX];
    let at = random.below(bytes.len() + 1);
    let part = |bytes: &[u8], random: &mut SplitMix| {
        let from = random.below(bytes.len() + 1);
        let len = random.below(bytes.len() - from + 1).min(random.below(64) + 1);
        from..from + len
    };
    match random.below(7) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        3 if at + 4 <= bytes.len() => {
            let number = NUMBERS[random.below(NUMBERS.len())];
            let number = if random.below(2) == 0 { number.swap_bytes() } else { number };
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        4 => drop(bytes.drain(part(bytes, random))),
        5 => drop(bytes.splice(at..at, bytes[part(bytes, random)].to_vec())),
        _ => drop(bytes.splice(at..at, other[part(other, random)].to_vec())),
    }
}

/// Runs a target. If it panics, prints the input.
fn run(target: fn(&[u8]) -> bool, name: &str, bytes: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| memory::bounded(target, bytes))).unwrap_or_else(|panic| {
        eprintln!("input made from seed {name}: b\"{}\"", bytes.escape_ascii());
        resume_unwind(panic)
    })
}

/// Returns the folder of the whole project, which contains the folders of all crates.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let holds_all = |folder: &&Path| folder.join("fuzz").is_dir();
    here.ancestors().find(holds_all).expect("a crate is in the project's folder").to_owned()
}

/// The random number generator SplitMix (Steele, Lea and Flood, 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to `end` - 1.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
