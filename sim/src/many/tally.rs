//! The tally of many runs: failures by signature, and counts of faults and events by kind.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::FaultEffects;
use crate::record::orders::Orders;
use crate::run::played::Played;
use crate::scenario::Family;
use unisono_observe::trace::EventKind;

/// Number of seeds that are stored for each signature. Further seeds are only counted.
pub(crate) const MAX_SEEDS_KEPT: usize = 5;

/// The tally of some runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Number of runs.
    pub n_runs: u64,
    /// Number of runs that failed.
    pub n_failed: u64,
    /// Number of events of all runs.
    pub n_events: u64,
    /// The different orders of events of all runs.
    pub orders: Orders,
    /// The shortest and the longest virtual time of the runs that passed.
    pub took: Option<(Duration, Duration)>,
    /// Failures by signature, in the order of the first run with that signature.
    pub findings: Vec<Finding>,
    /// The numbers of faults and effects by kind of fault, and the numbers of events by kind.
    pub coverage: Coverage,
}

/// All failures with the same signature.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The signature of the failures.
    pub signature: String,
    /// The first run with this signature.
    pub first: Played,
    /// The first seeds with this signature, at most 5.
    pub seeds: Vec<u64>,
    /// Number of seeds with this signature.
    pub n_seeds: u64,
}

/// The numbers of faults and effects by kind of fault, and the numbers of events by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Counts by kind of fault.
    pub faults: BTreeMap<Family, FaultCount>,
    /// Number of events by kind, over all runs.
    pub events: BTreeMap<EventKind, u64>,
}

/// The counts of one kind of fault. The keys of the JSON output are `faults`, `bit` and `bites`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCount {
    /// Number of faults of this kind.
    #[serde(rename = "faults")]
    pub n_faults: u64,
    /// Number of faults that had at least one effect.
    #[serde(rename = "bit")]
    pub n_with_effect: u64,
    /// Number of effects of all these faults.
    #[serde(rename = "bites")]
    pub n_effects: u64,
}

impl Tally {
    /// Counts a run. Returns a finding if the run failed and is the first with its failure
    /// signature.
    pub fn add(&mut self, run: Played) -> Option<&Finding> {
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

    /// Returns the signatures of the failures, each with its number of seeds.
    pub(crate) fn signatures(&self) -> String {
        let findings = self.findings.iter();
        let counts: Vec<_> =
            findings.map(|it| format!("{} {}", it.signature, it.n_seeds)).collect();
        counts.join(", ")
    }
}

impl Coverage {
    fn add(&mut self, run: &Played) {
        for FaultEffects { kind, n_effects, .. } in &run.faults {
            let count = self.faults.entry(*kind).or_default();
            count.n_faults += 1;
            count.n_with_effect += u64::from(*n_effects > 0);
            count.n_effects += n_effects;
        }
        for (kind, n) in &run.counts {
            *self.events.entry(*kind).or_default() += n;
        }
    }

    /// Adds the counts of other runs.
    pub fn merge(&mut self, other: &Self) {
        for (family, more) in &other.faults {
            let count = self.faults.entry(*family).or_default();
            count.n_faults += more.n_faults;
            count.n_with_effect += more.n_with_effect;
            count.n_effects += more.n_effects;
        }
        for (kind, n) in &other.events {
            *self.events.entry(*kind).or_default() += n;
        }
    }

    /// Returns the kinds of events that never happened.
    pub(crate) fn missing_events(&self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.iter().copied().filter(|kind| !self.events.contains_key(kind))
    }

    /// Returns the kinds of faults that never had an effect.
    pub(crate) fn missing_faults(&self) -> impl Iterator<Item = Family> {
        let has_effect =
            |family: &Family| self.faults.get(family).is_some_and(|it| it.n_with_effect > 0);
        Family::NAMED.iter().map(|(family, _)| *family).filter(move |family| !has_effect(family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ComputeCaches;
    use crate::Scenario;
    use crate::many::case::Source;
    use crate::run::failure::Failure;
    use crate::run::played::PlayOptions;

    fn run(seed: u64, failure: Option<Failure>) -> Played {
        let source = Source { path: "clean.toml".into(), scenario: Scenario::default().into() };
        let brief = source.case(1).brief(&ComputeCaches::default(), PlayOptions::default());
        Played { seed, failure, ..brief }
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
        assert_eq!(tally.findings[0].first.failure, Some(Failure::Hang("a".to_owned())));
        assert_eq!(tally.coverage.events[&EventKind::Starts], 40);
    }
}
