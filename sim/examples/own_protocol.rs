//! A change of the protocol, tried in the simulator before anybody writes it into a node.
//! `cargo run --release -p unisono-sim --example own_protocol`; it takes a few seconds.
//!
//! A [`Node`] takes an input and says what is to be done about it, so a change of what it does can
//! be wrapped around it. Here are two for a ps:
//!
//! - [`twice`] sends every version twice, as a ps would that does not know whether it was heard. A
//!   worker begins a step once, and no seed finds one in which it matters: every run has the bits of
//!   the serial one.
//! - [`mute`] saves a message: it does not tell a worker that its gradient came too late. Nothing
//!   is wrong with the numbers, but rule 5 says that nothing is dropped silently, and an invariant
//!   finds it, with the seed that shows it.
//!
//! For a change of your own, write the wrapper, and choose a scenario in which it can go wrong: more
//! workers than gradients an update, if it is about what comes late; `scenarios/` has many.
#![expect(clippy::print_stdout, reason = "it prints what it found")]

use std::sync::Arc;

use unisono_core::protocol::{Effect, Input, Message, Node, Standing, Status, Verdict};
use unisono_core::{Job, Moment, TaskId};
use unisono_sim::play;
use unisono_sim::run::failure::Failure;
use unisono_sim::run::played::{Change, PlayOptions};
use unisono_sim::scenario::draw;
use unisono_sim::{ComputeCaches, Scenario};

/// Four workers, three gradients an update: the slowest of each step is dropped, or told that it
/// comes too late. And whatever else a seed can think of.
const SCENARIO: &str = r#"
[train]
training_steps = 12

[cluster]
workers = 4

[sync]
replicas_to_aggregate = 3

[compute]
gradient = { exponential = "1ms", min = "300us" }

[chaos]
faults = { min = 0, max = 3 }
families = ["crash", "pause", "delay", "slow"]

[expect]
oracle = "provenance"
gradients_per_update = 3
"#;

const SEEDS: u64 = 64;

fn main() -> anyhow::Result<()> {
    for (name, change) in [("twice", twice as Change), ("mute", mute as Change)] {
        match first_failure(change)? {
            None => println!("{name}: {SEEDS} seeds, and each run has the bits of the serial one."),
            Some((seed, failure)) => println!("{name}: seed {seed}: {failure}"),
        }
    }
    Ok(())
}

/// The first seed whose run goes wrong, and how.
///
/// # Errors
/// If the scenario is wrong.
pub(crate) fn first_failure(change: Change) -> anyhow::Result<Option<(u64, Failure)>> {
    let scenario = Scenario::parse(SCENARIO, "own_protocol.toml")?;
    let caches = ComputeCaches::default();
    let options = PlayOptions { change: Some(change), ..PlayOptions::default() };
    let fails = |seed| {
        let drawn = Arc::new(draw::draw(&scenario, seed));
        play(&drawn, seed, &caches, options).failure.map(|failure| (seed, failure))
    };
    Ok((0..SEEDS).find_map(fails))
}

/// Each ps sends every version twice.
pub(crate) fn twice(task: TaskId, node: Box<dyn Node>) -> Box<dyn Node> {
    changed_ps(task, node, |effects| {
        // The order of effects is the write-ahead rule: a copy goes right behind its original.
        for effect in std::mem::take(effects) {
            let is_version =
                matches!(effect, Effect::Send { message: Message::Version { .. }, .. });
            let copy = is_version.then(|| effect.clone());
            effects.push(effect);
            effects.extend(copy);
        }
    })
}

/// No ps answers a gradient that came too late.
pub(crate) fn mute(task: TaskId, node: Box<dyn Node>) -> Box<dyn Node> {
    changed_ps(task, node, |effects| {
        effects.retain(|effect| {
            let Effect::Send { message, .. } = effect else { return true };
            !matches!(message, Message::PushReply { verdict: Verdict::Stale, .. })
        });
    })
}

fn changed_ps(task: TaskId, node: Box<dyn Node>, change: fn(&mut Vec<Effect>)) -> Box<dyn Node> {
    if task.job == Job::Ps { Box::new(Changed { node, change }) } else { node }
}

/// A node of which one thing is changed: what it does about an input.
struct Changed {
    node: Box<dyn Node>,
    change: fn(&mut Vec<Effect>),
}

impl Node for Changed {
    fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.node.handle(now, input, &mut effects);
        (self.change)(&mut effects);
        out.append(&mut effects);
    }

    fn deadline(&self) -> Option<Moment> {
        self.node.deadline()
    }

    fn status(&self, now: Moment) -> Status {
        self.node.status(now)
    }

    fn standing(&self, of: &mut dyn FnMut(TaskId)) -> Standing {
        self.node.standing(of)
    }
}
