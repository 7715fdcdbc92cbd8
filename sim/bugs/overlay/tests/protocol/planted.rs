//! Plays the protocol's `World` with one planted bug at a time. The test catches each bug that has
//! an effect in the `World`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use unisono_core::planted::{Bug, plant};

use crate::safety::{CRASHES, LINKS, STOPS, STORM, FaultMix, run};
use crate::world::{Fault, Shape};

/// Most bugs fail within a hundred runs. One bug needs 4,405 runs: a shard must be lost while a
/// complete capture waits for its losses, and not while a task is being stopped.
const MAX_RUNS: u64 = 12_000;

const CALM: FaultMix = FaultMix { faults: &[], one_in: 1 };

/// Knuth's MMIX generator. A run is a function of its seed, so a failing run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }

    fn in_range(&mut self, from: u32, to: u32) -> u32 {
        from + self.below(u64::from(to - from + 1)) as u32
    }
}

/// Plays one run. Panics if the run breaks a rule or does not end as it should.
fn play(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    random.below(1);
    let shape = Shape {
        n_ps: random.in_range(1, 3),
        n_workers: random.in_range(1, 4),
        // Many slots per worker fill the window of pushes without an answer.
        replicas_to_aggregate: random.in_range(1, 6) * if seed % 16 == 7 { 6 } else { 1 },
        training_steps: random.in_range(1, 8).into(),
        clocks_go_back: seed % 4 == 3,
    };
    let fault_mix = [CALM, LINKS, STOPS, CRASHES, STORM][seed as usize % 5];
    let choices: Vec<_> = (0..random.below(600))
        .map(|_| {
            let strikes = !fault_mix.faults.is_empty() && random.below(fault_mix.one_in.into()) == 0;
            let fault =
                strikes.then(|| fault_mix.faults[random.below(fault_mix.faults.len() as u64) as usize]);
            (random.below(1 << 16) as u16, fault)
        })
        .collect();
    let world = run(shape, &choices);
    // If no ps crashes, no update is made twice.
    if !fault_mix.faults.contains(&Fault::Crash) {
        assert_eq!(world.n_updates, shape.training_steps * u64::from(shape.n_ps), "made twice");
    }
}

/// Returns the seed of the first run that catches the bug, and the message of its panic.
fn hunt(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let caught = (0..MAX_RUNS).find_map(|seed| {
        let panic = catch_unwind(AssertUnwindSafe(|| play(seed))).err()?;
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref().map(|words: &&str| (*words).to_owned()));
        Some((seed, words.unwrap_or_default()))
    });
    plant(None);
    caught
}

#[test]
fn every_run_without_a_planted_bug_passes() {
    (0..MAX_RUNS).for_each(play);
}

/// Bugs that cannot fail here: the `World`'s disk loses nothing, and both ends of a link learn of
/// its loss. The crash tests of `src/files` and the simulator catch these bugs.
const OUT_OF_SIGHT: [Bug; 7] = [
    Bug::CheckpointRenamedBeforeSync,
    Bug::CheckpointNeverSynced,
    Bug::DirectoryNotSynced,
    Bug::LossesNotSynced,
    Bug::FailedSyncForgotten,
    Bug::LossesNotRewound,
    Bug::SilenceUnnoticed,
];

#[test]
fn every_planted_bug_that_this_test_can_detect_is_caught() {
    let mut missed = Vec::new();
    for &bug in Bug::ALL.iter().filter(|bug| !OUT_OF_SIGHT.contains(bug)) {
        match hunt(bug) {
            Some((seed, words)) => {
                let words = words.lines().next().unwrap_or_default();
                println!("{}: run {seed}: {words:.100}", bug.name());
            }
            None => missed.push(bug.name()),
        }
    }
    assert!(missed.is_empty(), "none of {MAX_RUNS} runs catches {missed:?}");
}
