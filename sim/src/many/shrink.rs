//! Shrinks a failing run to fewer faults, steps and tasks. The smaller run fails with the same
//! signature.
//!
//! Candidates are played on several threads. The first candidate in the list that fails with the
//! same signature is accepted, so the result does not depend on the number of threads.

use std::cmp::Ordering;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use unisono_core::TaskId;
use unisono_core::train_config::Sync;

use crate::ComputeCaches;
use crate::many::case::Case;
use crate::many::pool;
use crate::run::played::PlayOptions;
use crate::scenario::{
    ComputeModel, End, Expect, Fault, NetworkModel, Scenario, StorageModel, Trigger,
};

/// Maximum number of rounds. Each round tries all kinds of changes, because one change can make
/// another possible. More rounds are rarely useful.
const MAX_ROUNDS: usize = 8;
/// Sizes and durations that a person would choose, ascending.
const ROUND_NUMBERS: [u64; 15] = [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500];
const ROUND_MILLIS: [u64; 9] = [0, 1, 5, 10, 50, 100, 500, 1_000, 5_000];

/// Shrinks failing runs.
#[derive(Debug)]
pub struct Shrinker<'a> {
    /// The compute caches.
    pub caches: &'a ComputeCaches,
    /// The options of all runs.
    pub options: PlayOptions,
    /// Number of candidates that are played at the same time.
    pub jobs: NonZeroUsize,
    /// The signature with which a candidate must fail.
    pub signature: String,
}

/// A run that was shrunk.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest failing run that was found.
    pub case: Case,
    /// Number of candidates that were played up to each accepted candidate. Candidates behind an
    /// accepted candidate do not count, because their number depends on the threads.
    pub n_tried: u64,
}

impl Shrinker<'_> {
    /// Returns the smallest run that was found to fail with the same signature. Calls `watch` with
    /// each smaller run.
    pub fn shrink(&self, case: &Case, mut watch: impl FnMut(&Shrunk)) -> Shrunk {
        let mut search = Search { shrinker: self, seed: case.seed, n_tried: 0, watch: &mut watch };
        let mut smallest = (*case.scenario).clone();
        for _ in 0..MAX_ROUNDS {
            let before = smallest.clone();
            smallest = search.fewer_faults(smallest);
            for candidates in [calmer, shorter, smaller, simpler] {
                smallest = search.descend(smallest, candidates);
            }
            if smallest == before {
                break;
            }
        }
        smallest.sim.seeds = 1;
        let case = search.with_seed_zero(smallest);
        Shrunk { case, n_tried: search.n_tried }
    }

    fn fails(&self, scenario: &Scenario, seed: u64) -> Option<Scenario> {
        let scenario = checked(scenario)?;
        let case = Case { scenario: Arc::new(scenario), seed };
        let failure = case.play(self.caches, self.options).failure?;
        (failure.signature() == self.signature).then(|| (*case.scenario).clone())
    }
}

/// Writes a scenario as TOML, and reads the TOML back. Returns `None` if the TOML is not valid: the
/// result of `shrink` must be a valid file.
fn checked(scenario: &Scenario) -> Option<Scenario> {
    let mut read = Scenario::parse(&scenario.to_toml(), "shrunk.toml").ok()?;
    read.expect.golden.clone_from(&scenario.expect.golden);
    Some(read)
}

struct Search<'a, W> {
    shrinker: &'a Shrinker<'a>,
    seed: u64,
    n_tried: u64,
    watch: &'a mut W,
}

impl<W: FnMut(&Shrunk)> Search<'_, W> {
    /// Returns the index and the scenario of the first candidate that fails with the same
    /// signature.
    fn first(&mut self, candidates: &[Scenario]) -> Option<(usize, Scenario)> {
        let n = candidates.len() as u64;
        let (shrinker, seed) = (self.shrinker, self.seed);
        let found = pool::first(shrinker.jobs, 0..n, |number| {
            shrinker.fails(&candidates[number as usize], seed)
        });
        self.n_tried += found.as_ref().map_or(n, |(number, _)| number + 1);
        let (number, scenario) = found?;
        let case = Case { scenario: Arc::new(scenario.clone()), seed };
        (self.watch)(&Shrunk { case, n_tried: self.n_tried });
        Some((number as usize, scenario))
    }

    /// Replaces a scenario by its first candidate that fails with the same signature, and repeats
    /// this until no candidate fails.
    fn descend(
        &mut self,
        mut smallest: Scenario,
        candidates: impl Fn(&Scenario) -> Vec<Scenario>,
    ) -> Scenario {
        while let Some((_, smaller)) = self.first(&candidates(&smallest)) {
            smallest = smaller;
        }
        smallest
    }

    /// Removes faults by delta debugging (Zeller and Hildebrandt, Simplifying and isolating
    /// failure-inducing input, 2002). First each part of the faults is tried alone, then all faults
    /// except one part, then parts of half the size.
    fn fewer_faults(&mut self, scenario: Scenario) -> Scenario {
        let with = |faults: Vec<Fault>| Scenario { faults, ..scenario.clone() };
        if let Some((_, none)) = self.first(&[with(Vec::new())]) {
            return none;
        }
        let mut faults = scenario.faults.clone();
        let mut n_parts = 2;
        while faults.len() >= 2 {
            let parts: Vec<&[Fault]> = faults.chunks(faults.len().div_ceil(n_parts)).collect();
            let without = |part: usize| {
                let others = parts.iter().enumerate().filter(|(other, _)| *other != part);
                others.flat_map(|(_, faults)| faults.to_vec()).collect()
            };
            let alone = parts.iter().map(|part| part.to_vec());
            let rests = (0..parts.len()).map(without);
            let candidates: Vec<_> = alone.chain(rests).map(with).collect();
            let n_faults = faults.len();
            match self.first(&candidates) {
                Some((number, smaller)) => {
                    n_parts = if number < parts.len() { 2 } else { (n_parts - 1).max(2) };
                    faults = smaller.faults;
                }
                None if n_parts >= n_faults => break,
                None => n_parts = (2 * n_parts).min(n_faults),
            }
        }
        with(faults)
    }

    /// Replaces the seed by 0 if the run also fails with the same signature under seed 0. The
    /// shrunk scenario then fails without `--seed`, because `run` plays the seeds of a scenario
    /// from 0.
    fn with_seed_zero(&mut self, scenario: Scenario) -> Case {
        let seed = self.seed;
        self.n_tried += u64::from(seed != 0);
        let seed = if self.shrinker.fails(&scenario, 0).is_some() { 0 } else { seed };
        Case { scenario: Arc::new(scenario), seed }
    }
}

/// Returns candidates in which one section has its default values.
fn calmer(scenario: &Scenario) -> Vec<Scenario> {
    let default = Scenario::default();
    let expect = &scenario.expect;
    let candidates = [
        Scenario { network: NetworkModel::default(), ..scenario.clone() },
        Scenario { compute: ComputeModel::default(), ..scenario.clone() },
        Scenario { storage: StorageModel::default(), ..scenario.clone() },
        Scenario { limits: default.limits, ..scenario.clone() },
        Scenario { start: default.start, ..scenario.clone() },
        Scenario { wrong: default.wrong, ..scenario.clone() },
        Scenario {
            expect: Expect {
                outcome: expect.outcome.clone(),
                oracle: expect.oracle,
                ..Expect::default()
            },
            ..scenario.clone()
        },
    ];
    candidates.into_iter().filter(|candidate| candidate != scenario).collect()
}

/// Returns candidates with fewer steps.
fn shorter(scenario: &Scenario) -> Vec<Scenario> {
    let steps = scenario.run.train.training_steps;
    let fewer = ROUND_NUMBERS.into_iter().filter(|fewer| *fewer < steps);
    let with = |training_steps| {
        let mut scenario = scenario.clone();
        scenario.run.train.training_steps = training_steps;
        scenario
    };
    fewer.map(with).collect()
}

/// Returns candidates with fewer tasks, the fewest tasks first. The relation of R to N (below,
/// equal or above) stays the same, because the protocol works differently in these three cases.
fn smaller(scenario: &Scenario) -> Vec<Scenario> {
    let Sync { replicas_to_aggregate: replicas, total_num_replicas: workers } = scenario.run.sync;
    let up_to = |most: u32| {
        let below = ROUND_NUMBERS.into_iter().filter_map(|n| u32::try_from(n).ok());
        below.filter(move |n| *n < most).chain([most])
    };
    let mut sizes = Vec::new();
    for n_ps in up_to(scenario.run.n_ps) {
        for n_workers in up_to(workers) {
            let fewer = match replicas.cmp(&workers) {
                Ordering::Equal => vec![n_workers],
                Ordering::Less => vec![replicas.min(n_workers - 1)],
                Ordering::Greater => vec![replicas.min(n_workers + 1), replicas],
            };
            let present = (scenario.run.n_ps, workers, replicas);
            let sizes_of = fewer.into_iter().map(|replicas| (n_ps, n_workers, replicas));
            sizes.extend(sizes_of.filter(|size| size.2 > 0 && *size != present));
        }
    }
    sizes.sort_by_key(|(n_ps, n_workers, replicas)| (n_ps + n_workers, *n_ps, *replicas));
    sizes.dedup();
    let with = |(n_ps, total_num_replicas, replicas_to_aggregate)| {
        let mut scenario = scenario.clone();
        scenario.run.n_ps = n_ps;
        scenario.run.sync = Sync { replicas_to_aggregate, total_num_replicas };
        let exists = |task: &TaskId| match task.job {
            unisono_core::Job::Ps => task.index < n_ps,
            unisono_core::Job::Worker => task.index < total_num_replicas,
        };
        scenario.start.retain(|task, _| exists(task));
        scenario.compute.tasks.retain(|own| exists(&own.node));
        scenario
    };
    sizes.into_iter().map(with).collect()
}

/// Returns candidates with faults that begin earlier, last shorter or have rounder times.
fn simpler(scenario: &Scenario) -> Vec<Scenario> {
    let mut candidates = Vec::new();
    for (place, fault) in scenario.faults.iter().enumerate() {
        let mut put = |fault: Fault| {
            let mut scenario = scenario.clone();
            scenario.faults[place] = fault;
            candidates.push(scenario);
        };
        if let Trigger::At(at) = fault.trigger {
            for at in rounder(at) {
                put(Fault { trigger: Trigger::At(at), ..fault.clone() });
            }
        }
        if let Some(End::For(time)) = fault.end {
            for time in rounder(time).filter(|time| !time.is_zero()) {
                put(Fault { end: Some(End::For(time)), ..fault.clone() });
            }
        }
    }
    candidates
}

/// Returns simpler durations to try while a scenario is shrunk: shorter round durations, and the
/// same duration rounded to whole milliseconds.
fn rounder(duration: Duration) -> impl Iterator<Item = Duration> {
    let whole = Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let round = ROUND_MILLIS.into_iter().map(Duration::from_millis);
    round.chain([whole]).filter(move |shorter| *shorter < duration)
}
