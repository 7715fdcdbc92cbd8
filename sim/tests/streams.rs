//! Random numbers: each thing has a stream of its own. A fault less moves nothing before it, a seed
//! is a run, and the seed of the training is not the seed of the simulation, even if it is the same
//! number.

#![allow(missing_docs, reason = "a test program")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use unisono_core::random;
use unisono_core::random::Stream;
use unisono_sim::Scenario;
use unisono_sim::record::trace::TracedEvent;
use unisono_sim::run::played::Played;
use unisono_sim::scenario::{Fault, Trigger};
use unisono_sim::streams::Purpose;

use crate::support::{Told as _, passed, scenario, watch};

/// Everything that can be random is: computations, latencies, and what faults do.
const RANDOM: &str = r#"
[cluster]
workers = 3

[compute]
gradient = { exponential = "500us", min = "200us" }
update = { uniform = ["10us", "90us"] }

[network]
latency = { exponential = "50us", min = "50us" }
jitter = { uniform = ["0s", "40us"] }

[limits]
save_interval = "1ms"
"#;

const FAULTS: &str = r#"
[[fault]]
id = "slow"
kind = "slow"
node = "worker 2"
factor = 2
at = "1ms"
for = "4ms"

[[fault]]
id = "delay"
kind = "delay"
from = "workers"
to = "ps 0"
by = { uniform = ["0s", "400us"] }
at = "3ms"
for = "9ms"

[[fault]]
id = "delay back"
kind = "delay"
from = "ps"
to = "workers"
by = { exponential = "100us" }
at = "5ms"
for = "9ms"

[[fault]]
id = "corrupt"
kind = "corrupt"
from = "worker 1"
to = "ps 1"
at = "7ms"
for = "5ms"

[[fault]]
id = "narrow"
kind = "narrow-link"
from = "worker 2"
to = "ps 0"
rate = "50MB"
may_be_inert = true
at = "6ms"
for = "9ms"

[[fault]]
id = "torn"
kind = "disk"
mode = "torn"
at = "4ms"
for = "10ms"

[[fault]]
id = "crash"
kind = "crash"
node = "worker 2"
peers = "reset"
at = "12ms"
for = "5ms"

[[fault]]
id = "blackout"
kind = "crash"
node = "all"
power_loss = true
at = "15ms"
for = "5ms"
"#;

fn with_faults() -> Scenario {
    scenario(&format!("{RANDOM}{FAULTS}"))
}

fn play(scenario: &Scenario, seed: u64) -> Played {
    passed(watch(scenario, seed))
}

fn begins(fault: &Fault) -> Duration {
    let Trigger::At(at) = fault.trigger else { panic!("{} begins at a time", fault.id) };
    at
}

#[test]
fn without_one_fault_all_that_came_before_it_is_the_same() {
    for seed in 0..3 {
        let whole = with_faults();
        let all = play(&whole, seed);
        for place in 0..whole.faults.len() {
            let mut less = whole.clone();
            let removed = less.faults.remove(place);
            let without = play(&less, seed);
            let at = begins(&removed);
            let before = |played: &Played| {
                let events = played.events().iter().take_while(|event| event.at < at);
                events.cloned().collect::<Vec<TracedEvent>>()
            };
            let (ours, theirs) = (before(&all), before(&without));
            assert!(ours.len() > 10, "{}: too early to tell", removed.id);
            assert_eq!(ours, theirs, "seed {seed}, without {}", removed.id);
            assert_ne!(all.audit, without.audit, "seed {seed}: {} does something", removed.id);
        }
    }
}

/// It is the first fault, so that all others have another number, too.
#[test]
fn one_fault_more_that_changes_nothing_moves_no_draw_of_the_others() {
    let nothing = "[[fault]]\nid = \"nothing\"\nkind = \"delay\"\nfrom = \"chief\"\n\
                   to = \"ps 1\"\nby = \"0s\"\nat = \"2ms\"\n";
    for faults in ["", FAULTS] {
        let right = scenario(&format!("{RANDOM}{faults}"));
        let more = scenario(&format!("{RANDOM}{nothing}{faults}"));
        for seed in 0..5 {
            let (right, more) = (play(&right, seed), play(&more, seed));
            assert!(more.bites()[0] > 0);
            assert_eq!(right.audit, more.audit, "seed {seed}");
            assert_eq!(right.bites(), more.bites()[1..], "seed {seed}");
        }
    }
}

#[test]
fn a_scenario_and_a_seed_are_one_run_and_another_seed_is_another() {
    let scenario = with_faults();
    let mut audits = BTreeSet::new();
    for seed in 0..20 {
        let (one, two) = (play(&scenario, seed), play(&scenario, seed));
        assert_eq!((one.audit, one.took), (two.audit, two.took));
        assert_eq!(one.events(), two.events());
        audits.insert(one.audit.to_string());
    }
    assert_eq!(audits.len(), 20);
}

/// When things happen depends on the one seed, and the losses on the other.
#[test]
fn the_seed_of_the_training_moves_no_event_and_that_of_the_simulation_no_loss() {
    let with = |training: u64| {
        let mut scenario = with_faults();
        scenario.run.train.seed = training;
        scenario
    };
    let run = play(&with(1), 1);
    let training = play(&with(2), 1);
    assert_eq!((run.audit, run.took), (training.audit, training.took));
    assert_ne!(run.losses, training.losses);
    let simulation = play(&with(1), 2);
    assert_ne!(run.audit, simulation.audit);
    assert_eq!(run.losses, simulation.losses);
}

#[test]
fn equal_seeds_give_the_training_and_the_simulation_streams_of_their_own() {
    let training = [random::Purpose::InitialValues, random::Purpose::Permutation];
    let simulation = [
        Purpose::Compute,
        Purpose::Network,
        Purpose::Corruption,
        Purpose::PowerLoss,
        Purpose::Disk,
        Purpose::Delay,
        Purpose::Shape,
        Purpose::Chaos,
        Purpose::Recheck,
        Purpose::Schedule,
    ];
    let purposes: Vec<u64> =
        training.into_iter().map(u64::from).chain(simulation.into_iter().map(u64::from)).collect();
    let (mut words, mut n_words) = (BTreeSet::new(), 0);
    for purpose in purposes {
        for (entity, index) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let mut stream = Stream::new(7, purpose, entity, index);
            words.extend((0..64).map(|_| stream.bits()));
            n_words += 64;
        }
    }
    assert_eq!(words.len(), n_words, "no two streams have a word in common");
}
