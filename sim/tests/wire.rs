//! What messages travel as, themselves or as the frames of TCP, changes nothing that anybody could
//! see: not in any scenario, and not where frames are damaged.

#![allow(missing_docs, reason = "a test program")]

mod support;

use std::sync::Arc;

use unisono_core::{Slot, Step};
use unisono_observe::trace::EventKind;
use unisono_sim::play;
use unisono_sim::run::played::{PlayOptions, Played};
use unisono_sim::scenario::{FaultKind, Wire};
use unisono_sim::{Audit, Scenario};

use crate::support::{Told as _, caches, passed, sources};

fn run(scenario: &Arc<Scenario>, wire: Wire, seed: u64) -> Played {
    let mut scenario = (**scenario).clone();
    scenario.network.wire = wire;
    passed(play(&Arc::new(scenario), seed, caches(), PlayOptions::default()))
}

/// All that a run is, down to the bits of its losses.
fn essence(played: &Played) -> (Audit, std::time::Duration, u64, Vec<(Step, Slot, u32)>) {
    let bits = |(step, slot, loss): &(Step, Slot, f32)| (*step, *slot, loss.to_bits());
    let losses = played.losses.iter().map(bits).collect();
    (played.audit, played.took, played.n_events, losses)
}

#[test]
fn every_scenario_is_the_same_run_in_messages_and_in_frames() {
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

/// A message that is damaged is encoded for it, whatever it travels as: the same bit, the same end.
#[test]
fn a_damaged_message_is_damaged_alike_in_messages_and_in_frames() {
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
    assert!(n_scenarios > 0, "some scenario damages frames");
}
