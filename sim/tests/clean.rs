//! A run that nothing happens to, in virtual time: the production nodes, the real arithmetic.

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
    assert_eq!(played.failure, None, "{}", played.failure.as_ref().expect("there is one"));
    played
}

#[test]
fn a_simulated_run_is_the_serial_run_to_the_bit() {
    for (n_ps, n_workers, replicas) in [(1, 1, 1), (2, 2, 2), (3, 2, 4), (2, 4, 2)] {
        let played = run(&scenario(n_ps, n_workers, replicas), 7);
        assert_eq!(played.outcomes.len() as u32, n_ps + n_workers);
        assert!(played.outcomes.values().all(|outcome| *outcome == Outcome::Finished));
        assert_eq!(played.losses.len() as u32, STEPS * replicas);
    }
}

/// One task each, so that nobody waits for a second message of the same moment: a call (there and
/// back), hello and welcome, the restored state and its acknowledgement; meanwhile the worker's
/// pull and the first version. Then each step is a gradient, a push, an update and a version.
#[test]
fn with_constant_delays_the_virtual_time_is_a_closed_form() {
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
fn with_constant_delays_the_seed_changes_nothing() {
    let scenario = constant(scenario(2, 3, 4));
    let first = run(&scenario, 0);
    for seed in 1..5 {
        let other = run(&scenario, seed);
        assert_eq!((first.audit, first.took), (other.audit, other.took));
    }
}

/// A ps that greets a worker which has just left gets a reset, but only behind the goodbye that the
/// worker sent before: otherwise the ps would wait for the goodbye for as long as `linger`.
#[test]
fn no_goodbye_is_lost_to_a_reset_that_was_sent_after_it() {
    let scenario = scenario(2, 2, 2);
    for seed in 0..16 {
        let took = run(&scenario, seed).took;
        assert!(took < Duration::from_secs(1), "seed {seed}: {took:?}");
    }
}

#[test]
fn what_messages_travel_as_changes_nothing() {
    let mut scenario = scenario(2, 3, 2);
    scenario.network.jitter = Distribution::Uniform { min: Duration::ZERO, max: LATENCY };
    scenario.network.nic = std::num::NonZeroU64::new(100_000_000);
    let shared = run(&scenario, 3);
    scenario.network.wire = Wire::Bytes;
    let bytes = run(&scenario, 3);
    assert_eq!((shared.audit, shared.took), (bytes.audit, bytes.took));
    assert_eq!(shared.losses, bytes.losses);
}
