//! Messages travel as shared values or as encoded frames. Both modes must play the same runs in all
//! scenarios, even if frames are corrupted.

#![allow(missing_docs, reason = "a test program")]

mod support;

use std::sync::Arc;

use unisono_core::{Slot, Step};
use unisono_observe::trace::EventKind;
use unisono_sim::play;
use unisono_sim::run::played::{PlayOptions, Played};
use unisono_sim::scenario::{FaultKind, Wire};
use unisono_sim::{Audit, Scenario};

use crate::support::{TraceQueries as _, caches, passed, sources};

fn run(scenario: &Arc<Scenario>, wire: Wire, seed: u64) -> Played {
    let mut scenario = (**scenario).clone();
    scenario.network.wire = wire;
    passed(play(&Arc::new(scenario), seed, caches(), PlayOptions::default()))
}

/// Returns the events, the times and the loss bits of a run.
fn essence(played: &Played) -> (Audit, std::time::Duration, u64, Vec<(Step, Slot, u32)>) {
    let bits = |(step, slot, loss): &(Step, Slot, f32)| (*step, *slot, loss.to_bits());
    let losses = played.losses.iter().map(bits).collect();
    (played.audit, played.took, played.n_events, losses)
}

#[test]
fn every_scenario_plays_the_same_run_with_shared_and_with_encoded_messages() {
    for source in sources() {
        for seed in 0..2 {
            let scenario = source.case(seed).scenario;
            let shared = run(&scenario, Wire::Shared, seed);
            let bytes = run(&scenario, Wire::Bytes, seed);
            assert_eq!(essence(&shared), essence(&bytes), "{}, seed {seed}", source.name());
            assert_eq!(shared.counts, bytes.counts);
            assert_eq!(shared.faults, bytes.faults);
            assert_eq!(shared.checkpoint, bytes.checkpoint);
        }
    }
}

/// A message that a fault corrupts is encoded first, so both modes flip the same bit.
#[test]
fn corrupted_message_has_the_same_effect_shared_and_encoded() {
    let corrupts = |scenario: &Scenario| {
        scenario.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Corrupt { .. }))
    };
    let mut n_scenarios = 0;
    for source in sources().iter().filter(|source| corrupts(&source.scenario)) {
        n_scenarios += 1;
        let mut audits = Vec::new();
        for seed in 0..8 {
            let shared = run(&source.scenario, Wire::Shared, seed);
            assert!(shared.count(EventKind::Closed) > 0, "seed {seed}: no link was closed");
            assert_eq!(essence(&shared), essence(&run(&source.scenario, Wire::Bytes, seed)));
            audits.push(shared.audit);
        }
    }
    assert!(n_scenarios > 0, "no scenario corrupts frames");
}
