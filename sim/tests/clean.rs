//! Runs without faults, with the production nodes and the real arithmetic, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use unisono_core::protocol::Outcome;
use unisono_core::train_config::Sync;
use unisono_sim::play;
use unisono_sim::run::played::{PlayOptions, Played};
use unisono_sim::scenario::{Distribution, Oracle, StorageModel, Wire};
use unisono_sim::{ComputeCaches, Scenario};

const LATENCY: Duration = Duration::from_micros(100);
const GRADIENT: Duration = Duration::from_micros(700);
const UPDATE: Duration = Duration::from_micros(50);
const STEPS: u32 = 20;

fn scenario(n_ps: u32, n_workers: u32, replicas_to_aggregate: u32) -> Scenario {
    let mut scenario = Scenario::default();
    scenario.run.n_ps = n_ps;
    scenario.run.sync = Sync { replicas_to_aggregate, total_num_replicas: n_workers };
    scenario.expect.oracle =
        Some(if replicas_to_aggregate < n_workers { Oracle::Provenance } else { Oracle::Serial });
    scenario
}

fn constant(mut scenario: Scenario) -> Scenario {
    scenario.compute.gradient = Distribution::Const(GRADIENT);
    scenario.compute.update = Distribution::Const(UPDATE);
    scenario.network.jitter = Distribution::ZERO;
    scenario
}

fn run(scenario: &Scenario, seed: u64) -> Played {
    let played =
        play(&Arc::new(scenario.clone()), seed, &ComputeCaches::default(), PlayOptions::default());
    assert_eq!(played.failure, None, "{}", played.failure.as_ref().expect("a failure"));
    played
}

#[test]
fn simulated_run_equals_the_serial_run_bit_for_bit() {
    for (n_ps, n_workers, replicas) in [(1, 1, 1), (2, 2, 2), (3, 2, 4), (2, 4, 2)] {
        let played = run(&scenario(n_ps, n_workers, replicas), 7);
        assert_eq!(played.outcomes.len() as u32, n_ps + n_workers);
        assert!(played.outcomes.values().all(|outcome| *outcome == Outcome::Finished));
        assert_eq!(played.losses.len() as u32, STEPS * replicas);
    }
}

/// The cluster has one task of each job, so no task waits for a second message. The start takes a call (there and
/// back), hello and welcome, the restored state and its acknowledgement. The worker's pull and the
/// first version travel meanwhile. Then each step takes a gradient, a push, an update and a
/// version.
#[test]
fn virtual_time_has_a_closed_form_with_constant_delays() {
    let mut scenario = constant(scenario(1, 1, 1));
    let zero = Duration::ZERO;
    scenario.storage = StorageModel { write: zero, sync: zero, read: zero, bandwidth: None };
    let played = run(&scenario, 7);
    let greeting = 4 * LATENCY;
    let first_version = LATENCY + LATENCY;
    let step = GRADIENT + LATENCY + UPDATE + LATENCY;
    let last_capture = 2 * LATENCY;
    let finished = 2 * LATENCY;
    let goodbye = LATENCY;
    let expected = greeting + first_version + step * STEPS + last_capture + finished + goodbye;
    assert_eq!(played.took, expected);
}

#[test]
fn seed_changes_nothing_with_constant_delays() {
    let scenario = constant(scenario(2, 3, 4));
    let first = run(&scenario, 0);
    for seed in 1..5 {
        let other = run(&scenario, seed);
        assert_eq!((first.audit, first.took), (other.audit, other.took));
    }
}

/// A ps that greets a worker which has just left gets a reset, but only after the goodbye that the
/// worker had sent. Otherwise the ps would wait for the goodbye as long as `linger`.
#[test]
fn reset_does_not_overtake_a_goodbye() {
    let scenario = scenario(2, 2, 2);
    for seed in 0..16 {
        let took = run(&scenario, seed).took;
        assert!(took < Duration::from_secs(1), "seed {seed}: {took:?}");
    }
}

#[test]
fn encoding_of_messages_changes_neither_events_nor_losses() {
    let mut scenario = scenario(2, 3, 2);
    scenario.network.jitter = Distribution::Uniform { min: Duration::ZERO, max: LATENCY };
    scenario.network.nic = std::num::NonZeroU64::new(100_000_000);
    let shared = run(&scenario, 3);
    scenario.network.wire = Wire::Bytes;
    let bytes = run(&scenario, 3);
    assert_eq!((shared.audit, shared.took), (bytes.audit, bytes.took));
    assert_eq!(shared.losses, bytes.losses);
}
