//! A further seed tests something new only if it changes the order of events.

#![allow(missing_docs, reason = "a test program")]

mod support;

use std::collections::BTreeSet;

use unisono_sim::run::played::PlayOptions;
use unisono_sim::{EventOrder, Scenario};

use crate::support::{caches, scenario, sources, steady, watch};

/// The number of seeds that must play at least two orders.
const SEEDS: u64 = 8;

fn orders(scenario: &Scenario, seeds: u64) -> BTreeSet<EventOrder> {
    (0..seeds).map(|seed| watch(scenario, seed).order).collect()
}

/// The same check as that of `unisono-sim run`, with fewer seeds.
#[test]
fn seeds_of_every_scenario_play_more_than_one_order() {
    for source in sources() {
        if source.scenario.sim.one_order || u64::from(source.scenario.sim.seeds) < SEEDS {
            continue;
        }
        let play = |seed| source.case(seed).play(caches(), PlayOptions::default()).order;
        let first = play(0);
        let is_other = |seed| play(seed) != first;
        assert!((1..SEEDS).any(is_other), "{}: {SEEDS} seeds, 1 order", source.name());
    }
}

#[test]
fn default_times_vary_the_order_and_constant_times_do_not() {
    let varying = scenario("");
    assert!(orders(&varying, SEEDS).len() > 4, "default times change who is first");
    assert_eq!(orders(&steady(varying), SEEDS).len(), 1);
}

/// A jitter that is too small to let one message overtake another changes only times. The audit of
/// such seeds differs, and the order does not.
#[test]
fn seeds_that_change_only_times_have_one_order() {
    let text = "[cluster]\nps = 1\nworkers = 1\n[train]\ntraining_steps = 3\n[compute]\n\
                gradient = \"700us\"\nupdate = \"50us\"\n[network]\n\
                jitter = { uniform = [\"0ns\", \"1us\"] }\n";
    let scenario = scenario(text);
    let audits: BTreeSet<_> =
        (0..SEEDS).map(|seed| watch(&scenario, seed).audit.to_string()).collect();
    assert_eq!(audits.len() as u64, SEEDS);
    assert_eq!(orders(&scenario, SEEDS).len(), 1);
}
