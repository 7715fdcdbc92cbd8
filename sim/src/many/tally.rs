//! What came of many runs: failures by signature, and what was reached at all.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Audit;
use crate::record::orders::{EventOrder, Orders};
use crate::run::failure::Failure;
use crate::run::played::Played;
use crate::scenario::Family;
use unisono_observe::trace::EventKind;

/// Seeds that are kept of each signature; the others are counted.
pub(crate) const MAX_SEEDS_KEPT: usize = 5;

/// What is kept of a run until it is counted.
#[derive(Clone, Debug)]
pub struct Brief {
    /// The seed.
    pub seed: u64,
    /// What is wrong with it, if anything.
    pub failure: Option<Failure>,
    /// The hash of everything that happened.
    pub audit: Audit,
    /// The hash of the order of events.
    pub order: EventOrder,
    /// Virtual time.
    pub took: Duration,
    /// Events of the universe.
    pub n_events: u64,
    /// How often each kind of fault bit.
    pub bites: Vec<(Family, u64)>,
    /// How often each kind of event happened.
    pub counts: Vec<(EventKind, u64)>,
}

impl Brief {
    /// What is kept of `played`, whose faults are of these kinds, in order.
    #[must_use]
    pub fn of(played: &Played, families: &[Family]) -> Self {
        let bites = families.iter().zip(&played.faults);
        Self {
            seed: played.seed,
            failure: played.failure.clone(),
            audit: played.audit,
            order: played.order,
            took: played.took,
            n_events: played.n_events,
            bites: bites.map(|(family, fault)| (*family, fault.n_effects)).collect(),
            counts: played.counts.clone(),
        }
    }
}

/// What came of some runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many there were.
    pub n_runs: u64,
    /// How many of them failed.
    pub n_failed: u64,
    /// Events of all of them.
    pub n_events: u64,
    /// Different orders of events.
    pub orders: Orders,
    /// The shortest and the longest virtual time of those that did not fail.
    pub took: Option<(Duration, Duration)>,
    /// Failures by signature, in the order in which they came.
    pub findings: Vec<Finding>,
    /// What bit and what happened.
    pub coverage: Coverage,
}

/// Failures that are taken for the same.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Of all of them.
    pub signature: String,
    /// The first run that failed so.
    pub first: Brief,
    /// The first seeds that fail so.
    pub seeds: Vec<u64>,
    /// How many there are.
    pub n_seeds: u64,
}

/// How often something was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Kinds of faults.
    pub faults: BTreeMap<Family, FaultCount>,
    /// Kinds of events: how often each happened, over all runs.
    pub events: BTreeMap<EventKind, u64>,
}

/// How often one kind of fault did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCount {
    /// Faults of this kind.
    pub n_faults: u64,
    /// Those of them that changed anything.
    pub n_bit: u64,
    /// How often they did.
    pub n_effects: u64,
}

impl Tally {
    /// Counts a run. Says which finding is new with it.
    pub fn add(&mut self, run: Brief) -> Option<&Finding> {
        self.n_runs += 1;
        self.n_events += run.n_events;
        self.orders.add(run.order);
        self.coverage.add(&run);
        let Some(failure) = &run.failure else {
            let (min, max) = self.took.unwrap_or((run.took, run.took));
            self.took = Some((min.min(run.took), max.max(run.took)));
            return None;
        };
        self.n_failed += 1;
        let signature = failure.signature();
        if let Some(known) = self.findings.iter_mut().find(|known| known.signature == signature) {
            known.n_seeds += 1;
            if known.seeds.len() < MAX_SEEDS_KEPT {
                known.seeds.push(run.seed);
            }
            return None;
        }
        let seeds = vec![run.seed];
        self.findings.push(Finding { signature, first: run, seeds, n_seeds: 1 });
        self.findings.last()
    }
}

impl Finding {
    /// What is wrong with the first run.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        self.first.failure.as_ref().expect("a finding is a failure")
    }
}

impl Coverage {
    fn add(&mut self, run: &Brief) {
        for (family, n_effects) in &run.bites {
            let count = self.faults.entry(*family).or_default();
            count.n_faults += 1;
            count.n_bit += u64::from(*n_effects > 0);
            count.n_effects += n_effects;
        }
        for (kind, n) in &run.counts {
            *self.events.entry(*kind).or_default() += n;
        }
    }

    /// Takes what other runs reached in.
    pub fn merge(&mut self, other: &Self) {
        for (family, more) in &other.faults {
            let count = self.faults.entry(*family).or_default();
            count.n_faults += more.n_faults;
            count.n_bit += more.n_bit;
            count.n_effects += more.n_effects;
        }
        for (kind, n) in &other.events {
            *self.events.entry(*kind).or_default() += n;
        }
    }

    /// Kinds of events that never happened.
    pub fn missing_events(&self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.iter().copied().filter(|kind| !self.events.contains_key(kind))
    }

    /// Kinds of faults that never bit.
    pub fn missing_faults(&self) -> impl Iterator<Item = Family> {
        let bit = |family: &Family| self.faults.get(family).is_some_and(|it| it.n_bit > 0);
        Family::NAMED.iter().map(|(family, _)| *family).filter(move |family| !bit(family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ComputeCaches;
    use crate::Scenario;
    use crate::many::case::Source;
    use crate::run::played::PlayOptions;

    fn run(seed: u64, failure: Option<Failure>) -> Brief {
        let source = Source { path: "clean.toml".into(), scenario: Scenario::default().into() };
        let brief = source.case(1).brief(&ComputeCaches::default(), PlayOptions::default());
        Brief { seed, failure, ..brief }
    }

    #[test]
    fn failures_of_one_signature_are_one_finding_with_its_first_seeds() {
        let mut tally = Tally::default();
        assert!(tally.add(run(1, None)).is_none());
        assert!(tally.add(run(2, Some(Failure::Hang("a".to_owned())))).is_some());
        for seed in 3..10 {
            assert!(tally.add(run(seed, Some(Failure::Hang("b".to_owned())))).is_none());
        }
        assert!(tally.add(run(10, Some(Failure::Panic("c".to_owned())))).is_some());
        let seeds: Vec<_> = tally.findings.iter().map(|found| found.seeds.clone()).collect();
        assert_eq!(seeds, [vec![2, 3, 4, 5, 6], vec![10]]);
        assert_eq!((tally.n_runs, tally.n_failed, tally.findings[0].n_seeds), (10, 9, 8));
        assert_eq!(tally.findings[0].failure(), &Failure::Hang("a".to_owned()));
        assert_eq!(tally.coverage.events[&EventKind::Starts], 40);
    }
}
