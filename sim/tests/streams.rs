//! Random streams: each purpose and entity has its own. Removing a fault changes nothing before it,
//! a seed determines a run, and the seed of the training and the seed of the simulation share no
//! stream, even if they are equal.

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

use crate::support::{TraceQueries as _, passed, scenario, watch};

/// A scenario in which all durations and latencies are random.
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
fn removing_a_fault_changes_nothing_before_it() {
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
            assert!(ours.len() > 10, "{}: too few events before the fault", removed.id);
            assert_eq!(ours, theirs, "seed {seed}, without {}", removed.id);
            assert_ne!(all.audit, without.audit, "seed {seed}: {} has no effect", removed.id);
        }
    }
}

/// The added fault is the first one, so that the numbers of all other faults change, too.
#[test]
fn added_fault_without_influence_changes_no_random_draw_of_other_faults() {
    let nothing = "[[fault]]\nid = \"nothing\"\nkind = \"delay\"\nfrom = \"chief\"\n\
                   to = \"ps 1\"\nby = \"0s\"\nat = \"2ms\"\n";
    for faults in ["", FAULTS] {
        let right = scenario(&format!("{RANDOM}{faults}"));
        let more = scenario(&format!("{RANDOM}{nothing}{faults}"));
        for seed in 0..5 {
            let (right, more) = (play(&right, seed), play(&more, seed));
            assert!(more.effects()[0] > 0);
            assert_eq!(right.audit, more.audit, "seed {seed}");
            assert_eq!(right.effects(), more.effects()[1..], "seed {seed}");
        }
    }
}

#[test]
fn seed_determines_the_run_and_another_seed_gives_another_run() {
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

/// Times depend on the seed of the simulation, and losses on the seed of the training.
#[test]
fn training_seed_changes_no_event_and_simulation_seed_changes_no_loss() {
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
fn training_and_simulation_share_no_stream_with_equal_seeds() {
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
