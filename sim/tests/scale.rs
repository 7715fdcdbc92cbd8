//! Large clusters finish, and each further worker adds the same number of events.

#![allow(missing_docs, reason = "a test program")]

mod support;

use std::sync::Arc;

use unisono_core::train_config::Sync;
use unisono_sim::Scenario;
use unisono_sim::play;
use unisono_sim::run::played::{PlayOptions, Played};

use crate::support::{caches, passed};

const N_PS: u32 = 8;
const STEPS: u64 = 5;

fn run(n_workers: u32, training_steps: u64) -> Played {
    run_with(N_PS, n_workers, training_steps)
}

fn run_with(n_ps: u32, n_workers: u32, training_steps: u64) -> Played {
    let mut scenario = Scenario::default();
    scenario.run.n_ps = n_ps;
    scenario.run.sync = Sync { replicas_to_aggregate: n_workers, total_num_replicas: n_workers };
    scenario.run.train.training_steps = training_steps;
    scenario.expect.gradients_per_update = Some(n_workers);
    passed(play(&Arc::new(scenario), 1, caches(), PlayOptions::default()))
}

#[test]
fn two_hundred_workers_and_eight_ps_finish() {
    let played = run(200, STEPS);
    assert_eq!(played.outcomes.len(), 208);
    assert_eq!(played.losses.len() as u64, 200 * STEPS);
}

/// A ps has a limited number of links, as on the real host. The limit must suffice for this
/// cluster.
#[test]
fn eleven_hundred_workers_connect_to_one_ps() {
    assert_eq!(run_with(1, 1100, 1).outcomes.len(), 1101);
}

/// There are events of the ps among themselves, and of each worker with each ps. No number grows
/// with the square of the workers, or with the number of earlier steps.
#[test]
fn number_of_events_grows_linearly_with_workers_and_with_steps() {
    let by_workers = [40, 80, 120].map(|n_workers| run(n_workers, STEPS).n_events);
    assert_straight("workers", by_workers);
    let by_steps = [5, 10, 15].map(|steps| run(20, steps).n_events);
    assert_straight("steps", by_steps);
}

/// Asserts that three equally spaced counts are on a line, within one percent of their distance.
fn assert_straight(of: &str, [first, second, third]: [u64; 3]) {
    let (step, next) = (second - first, third - second);
    assert!(step.abs_diff(next) * 100 <= step, "{of}: {first}, {second}, {third} events");
}
